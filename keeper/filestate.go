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
	// fileFormat and fileVersion mark a state file. They are inside of what is
	// encrypted, where nobody else can have put them.
	fileFormat  = "latchkey keeper state"
	fileVersion = 1
	// maxStateFile bounds what is read. A state has a few kilobytes.
	maxStateFile = 1 << 20
	// lockPoll is how often a process looks whether the lease is free.
	lockPoll = 25 * time.Millisecond
)

// FileState is a State in a file, shared by the processes of one host (not over
// a network file system). It consists of four files: the path itself, encrypted
// with age; ".key" beside it, the key; ".lock", which is locked while a keeper
// logs in, and whose modification time is the last use of the session; and
// ".tmp" for a moment. All are made with mode 0600.
//
// A state file that is damaged, has another form or does not fit its key is an
// error that says what to do. It is never overwritten, and no login is made as
// long as it is there.
type FileState struct {
	path string
	key  keyStore
}

var _ State = (*FileState)(nil)

// NewFileState answers the State at path, whose key is in a file beside it. Its
// directory is made, with mode 0700, if it does not exist. An existing state is
// read once, so that a fault shows early.
func NewFileState(path string) (*FileState, error) {
	return openFileState(path, &keyFile{path: path + ".key"})
}

// NewKeyringFileState is as NewFileState, except that the key is in the keyring
// of the operating system, under the given service name. There has to be one: a
// session bus with a secret service on Linux. It is given three seconds to
// answer.
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

// Touch implements State. It costs one system call or two, and no writing.
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

// Acquire implements State. The operating system takes the lease from a process
// that ends, however it ends.
func (f *FileState) Acquire(ctx context.Context) (Lease, error) {
	// A lock of its own for each lease: the processes' goroutines exclude each
	// other, too.
	lock := flock.New(f.lockPath(), flock.SetPermissions(0o600))
	if _, err := lock.TryLockContext(ctx, lockPoll); err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("another process has been logging in for all that time: %w", context.Cause(ctx))
		} else if errors.Is(err, errors.ErrUnsupported) || errors.Is(err, syscall.ENOLCK) {
			err = fmt.Errorf("files cannot be locked there, so no login is made: use a local disk, "+
				"or share the session in PostgreSQL or Redis: %w", err)
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

// Format implements fmt.Formatter, whatever the verb: the key is not shown.
func (f *FileState) Format(s fmt.State, _ rune) {
	_, _ = fmt.Fprintf(s, "keeper.FileState(%s)", f.path)
}

func (f *FileState) lockPath() string { return f.path + ".lock" }

// read answers the content of the state file; that of one that does not exist is
// zero.
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
		return envelope{}, f.unusable("it was not made with the key that is there, or is no state file")
	}
	plain, err := io.ReadAll(io.LimitReader(opened, maxStateFile))
	var e envelope
	if err != nil || json.Unmarshal(plain, &e) != nil || e.Format != fileFormat {
		return envelope{}, f.unusable("it is damaged, or is no state file")
	}
	if e.Version != fileVersion {
		return envelope{}, f.unusable(fmt.Sprintf("it has version %d, and this program knows version %d", e.Version, fileVersion))
	}
	return e, nil
}

// unusable is the error for a file that is there and cannot be used.
func (f *FileState) unusable(why string) error {
	return fmt.Errorf("keeper: state file %s: %s. Nothing was changed, and no login is made, because the count of "+
		"failed ones is in it: restore it with its key, or, once the account is known not to be near its lock, "+
		"move it away to begin anew", f.path, why)
}

// fileLease holds the lock. The epoch catches what a lock cannot: somebody who
// removed the lock file, so that another process locked a new one.
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
