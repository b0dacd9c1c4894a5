package keeper

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"filippo.io/age"
	"github.com/gofrs/flock"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/internal/atomicfile"
	"github.com/latchkey/latchkey/keeper/internal/ledger"
)

const (
	// fileFormat and fileVersion mark a state file. They are encrypted with the data, so
	// they prove that the file was written with the key.
	fileFormat  = "latchkey keeper state"
	fileVersion = 1
	// maxStateFile bounds the size of a file that is read. A state has a few kilobytes.
	maxStateFile = 1 << 20
	// lockPoll is how often a process tries to get the lease.
	lockPoll = 25 * time.Millisecond
)

// FileState is a State in a file on a local disk, shared by the processes of one host. It
// consists of four files: the path itself, encrypted with age; ".key", the key; ".lock",
// which is locked while a Keeper logs in, and whose modification time is the last use of
// the session; and for a moment ".tmp". All have mode 0600.
//
// A state file that is damaged, has another format or was not written with its key is an
// error. It is never overwritten, and no login is made as long as it is there.
type FileState struct {
	path string
	key  keyStore
}

var _ State = (*FileState)(nil)

// NewFileState returns the State at path, whose key is in a file beside it. The directory is
// created with mode 0700 if it does not exist. An existing state is read, so that an
// unusable one is an error at once.
func NewFileState(path string) (*FileState, error) {
	return openFileState(path, &keyFile{path: path + ".key"})
}

// NewKeyringFileState is like NewFileState, but the key is in the keyring of the operating
// system, under the given service name. On Linux this needs a session bus with a secret
// service. A use of the keyring takes at most three seconds.
func NewKeyringFileState(path, service string) (*FileState, error) {
	return openFileState(path, &keyring{service: service, user: path})
}

func openFileState(path string, key keyStore) (*FileState, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("keeper: state file: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("keeper: state file: %w", err)
	}
	f := &FileState{path: path, key: key}
	if _, err := key.identity(context.Background()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if _, err := f.read(context.Background()); err != nil {
		return nil, err
	}
	return f, nil
}

// envelope is the plaintext of a state file.
type envelope struct {
	Format  string `json:"format"`
	Version int    `json:"version"`
	Epoch   uint64 `json:"epoch"` // grows with every save
	Data    string `json:"data"`
}

// Durable returns true.
func (f *FileState) Durable() bool { return true }

// Load implements State.
func (f *FileState) Load(ctx context.Context) (Saved, error) {
	e, err := f.read(ctx)
	if err != nil {
		return Saved{}, err
	}
	saved := Saved{Data: latchkey.Secret(e.Data)}
	info, err := os.Stat(f.lockPath())
	switch {
	case err == nil:
		saved.LastUse = info.ModTime()
	case !errors.Is(err, fs.ErrNotExist):
		return Saved{}, fmt.Errorf("keeper: state file: %w", err)
	}
	return saved, nil
}

// Touch implements State. It makes one or two system calls, and writes no data.
func (f *FileState) Touch(_ context.Context, at time.Time) error {
	info, err := os.Stat(f.lockPath())
	if err == nil && ledger.Supersedes(at, info.ModTime(), time.Now()) {
		err = os.Chtimes(f.lockPath(), time.Time{}, at)
	}
	if err != nil {
		return fmt.Errorf("keeper: state file: %w", err)
	}
	return nil
}

// Acquire implements State. The operating system ends the lease of a process that ends,
// however it ends.
func (f *FileState) Acquire(ctx context.Context) (Lease, error) {
	// One lock for each lease, so that goroutines of one process exclude each other, too.
	lock := flock.New(f.lockPath(), flock.SetPermissions(0o600))
	if _, err := lock.TryLockContext(ctx, lockPoll); err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("another process holds the lease: %w", context.Cause(ctx))
		} else if errors.Is(err, errors.ErrUnsupported) || errors.Is(err, syscall.ENOLCK) {
			err = &hintedError{
				text: "files cannot be locked there, so no login is made", err: err,
				hint: "Use a local disk, or share the session in PostgreSQL or Redis.",
			}
		}
		return nil, fmt.Errorf("keeper: state file %s: %w", f.path, err)
	}
	e, err := f.read(ctx)
	if err != nil {
		_ = lock.Unlock()
		return nil, err
	}
	return &fileLease{state: f, lock: lock, epoch: e.Epoch}, nil
}

// Format implements fmt.Formatter. For every verb it writes the path, and not the key.
func (f *FileState) Format(s fmt.State, _ rune) {
	_, _ = fmt.Fprintf(s, "keeper.FileState(%s)", f.path)
}

func (f *FileState) lockPath() string { return f.path + ".lock" }

// read returns the content of the state file, which is zero if there is no file.
func (f *FileState) read(ctx context.Context) (envelope, error) {
	file, err := os.Open(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return envelope{}, nil
	}
	if err != nil {
		return envelope{}, fmt.Errorf("keeper: state file: %w", err)
	}
	defer func() { _ = file.Close() }()
	sealed, err := io.ReadAll(io.LimitReader(file, maxStateFile))
	if err != nil {
		return envelope{}, fmt.Errorf("keeper: state file: %w", err)
	}
	identity, err := f.key.identity(ctx)
	if errors.Is(err, fs.ErrNotExist) {
		return envelope{}, f.unusable("its key is missing")
	}
	if err != nil {
		return envelope{}, err
	}
	opened, err := age.Decrypt(bytes.NewReader(sealed), identity)
	if err != nil {
		return envelope{}, f.unusable("it was not written with this key, or is not a state file")
	}
	plain, err := io.ReadAll(io.LimitReader(opened, maxStateFile))
	var e envelope
	if err != nil || json.Unmarshal(plain, &e) != nil || e.Format != fileFormat {
		return envelope{}, f.unusable("it is damaged, or is not a state file")
	}
	if e.Version != fileVersion {
		return envelope{}, f.unusable(fmt.Sprintf("it has version %d, this program knows version %d", e.Version, fileVersion))
	}
	return e, nil
}

// unusable returns the error for a file that exists and cannot be used.
func (f *FileState) unusable(why string) error {
	return &hintedError{
		text: fmt.Sprintf("keeper: state file %s: %s", f.path, why),
		hint: "Nothing was changed, and no login is made, because the count of failed logins cannot be read. " +
			"Restore the file and its key, or, if you know that the account is not near its lock, move the file away to " +
			"start with an empty state.",
	}
}

// fileLease holds the lock. The epoch detects that the lock file was removed, and that
// another process has locked a new one.
type fileLease struct {
	state *FileState
	lock  *flock.Flock
	epoch uint64
}

// Save implements Lease.
func (l *fileLease) Save(ctx context.Context, data latchkey.Secret) error {
	now, err := l.state.read(ctx)
	if err != nil {
		return err
	}
	if now.Epoch != l.epoch {
		return ErrLeaseLost
	}
	identity, err := l.state.key.identity(ctx)
	if errors.Is(err, fs.ErrNotExist) && now.Epoch == 0 {
		identity, err = l.state.key.create(ctx)
	}
	if err != nil {
		return err
	}
	plain, err := json.Marshal(envelope{fileFormat, fileVersion, l.epoch + 1, data.Reveal()})
	if err != nil {
		return fmt.Errorf("keeper: state file: %w", err)
	}
	var sealed bytes.Buffer
	w, err := age.Encrypt(&sealed, identity.Recipient())
	if err == nil {
		_, err = w.Write(plain)
	}
	if err == nil {
		err = w.Close()
	}
	if err == nil {
		err = atomicfile.WriteLocked(l.state.path, sealed.Bytes(), nil)
	}
	if err != nil {
		return fmt.Errorf("keeper: state file: %w", err)
	}
	l.epoch++
	return nil
}

// Release implements Lease.
func (l *fileLease) Release(context.Context) error {
	if err := l.lock.Unlock(); err != nil {
		return fmt.Errorf("keeper: state file: %w", err)
	}
	return nil
}
