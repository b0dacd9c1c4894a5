package credential

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/credential/internal/document"
	"github.com/latchkey/latchkey/credential/internal/hint"
	"github.com/latchkey/latchkey/internal/atomicfile"
)

const (
	// Save tries to take the lock every lockPoll, for at most lockLimit. Others hold it
	// for as long as the disk takes to sync.
	lockPoll  = 10 * time.Millisecond
	lockLimit = 10 * time.Second
)

// FileConfig is the configuration of a File. Path is required. Without Identity or
// Passphrase the file is not encrypted.
type FileConfig struct {
	Path string
	// Identity is an age secret key in the form that age-keygen writes
	// ("AGE-SECRET-KEY-1…"). Comments and several keys are allowed. The file is
	// encrypted for it and decrypted with it.
	Identity latchkey.Secret
	// Recipients are further age public keys ("age1…") that the file is encrypted for,
	// such as an operator's, in case the identity is lost.
	Recipients []string
	// Passphrase encrypts the file if there is no Identity. Every Load then takes about
	// a second and 256 MiB, to make guessing expensive.
	Passphrase latchkey.Secret
}

// File is a Store in a local file, for the processes of one host. A network file system
// is not supported. The file holds {"username": "…", "password": "…", "salt": "…"},
// encrypted with age if the configuration has a key. It may be written by hand, without
// a salt. A file with the suffix ".lock" beside it is the lock; one with the suffix
// ".tmp" exists during a Save.
//
// The new file is written whole, synced and renamed, so that after a crash at any moment
// either the old or the new credential is there. All files have mode 0600. A File neither
// reads nor overwrites a credential file that other users may read or write, that is
// damaged, or that was encrypted with another key.
type File struct {
	path       string
	encryption *encryption // nil: not encrypted
	// step is called before each step of a Save. Tests set it.
	step func(name string) error
}

var _ Store = (*File)(nil)

// NewFile returns the Store, or an error if the configuration is not valid. The directory
// must exist; the file need not.
func NewFile(config FileConfig) (*File, error) {
	if config.Path == "" {
		return nil, errors.New("credential: file: the path is empty")
	}
	path, err := filepath.Abs(config.Path)
	if err != nil {
		return nil, fmt.Errorf("credential: file: %w", err)
	}
	// A rename to a symbolic link would replace the link.
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	encryption, err := newEncryption(config)
	if err != nil {
		return nil, fmt.Errorf("credential: file %s: %w", path, err)
	}
	return &File{path: path, encryption: encryption, step: func(string) error { return nil }}, nil
}

// Load implements Store. It does not wait for the lock.
func (f *File) Load(ctx context.Context) (Credential, error) {
	if err := ctx.Err(); err != nil {
		return Credential{}, f.failed("", err)
	}
	_, c, err := f.read()
	return c, err
}

// Save implements Store.
func (f *File) Save(ctx context.Context, next Credential) (string, error) {
	const unchanged = "nothing was saved: "
	if err := next.Check(); err != nil {
		return "", f.failed(unchanged, err)
	}
	ctx, cancel := context.WithTimeout(ctx, lockLimit)
	defer cancel()
	if err := ctx.Err(); err != nil {
		return "", f.failed(unchanged, err)
	}
	lock := flock.New(f.path+".lock", flock.SetPermissions(0o600))
	if _, err := lock.TryLockContext(ctx, lockPoll); err != nil {
		if err = bare(err); errors.Is(err, fs.ErrPermission) {
			err = hint.With(err, "Choose a directory that you may write to.")
		}
		return "", f.failed(unchanged+"cannot lock it: ", err)
	}
	defer func() { _ = lock.Close() }()
	kept, now, err := f.read()
	if errors.Is(err, ErrNotFound) {
		kept, err = document.Document{}, nil
	}
	if err != nil {
		return "", err
	}
	if now.Version != next.Version {
		return "", fmt.Errorf("credential: file %s: %w", f.path, ErrConflict)
	}
	kept.Set(next.User, next.Password)
	kept.Salt()
	content := append(kept.Encode(), '\n')
	if f.encryption != nil {
		if content, err = f.encryption.encrypt(content); err != nil {
			return "", f.failed(unchanged, err)
		}
	}
	if err := f.replace(content); err != nil {
		return "", err
	}
	return kept.Version(), nil
}

// Format implements fmt.Formatter. It hides the key for every verb.
func (f *File) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, "credential.File("+f.path+")") }

// read returns the content of the file. A damaged file is an error other than ErrNotFound.
func (f *File) read() (document.Document, Credential, error) {
	content, mode, err := readFile(f.path, maxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, Credential{}, fmt.Errorf("credential: file %s does not exist: %w", f.path, ErrNotFound)
	}
	if err == nil && shared(mode, 0o077) {
		err = hint.With(fmt.Errorf("other users of this machine may read or write it (mode %04o)", mode.Perm()),
			"Run chmod 600 on the file. Change the password if other users must not know it.")
	}
	if err == nil {
		content, err = f.open(content)
	}
	var kept document.Document
	if err == nil {
		kept, err = document.Parse(content)
	}
	if err != nil {
		return nil, Credential{}, f.failed("", err)
	}
	user, password, err := kept.Get()
	if err != nil {
		return nil, Credential{}, f.failed("", err)
	}
	return kept, Credential{User: user, Password: password, Version: kept.Version()}, nil
}

// open returns the content, decrypted if there is a key.
func (f *File) open(content []byte) ([]byte, error) {
	switch encrypted := isEncrypted(content); {
	case f.encryption == nil && encrypted:
		return nil, hint.With(errors.New("it is encrypted with age, and there is no key for it"),
			"Configure the identity or the passphrase that it was encrypted with.")
	case f.encryption == nil:
		return content, nil
	case !encrypted:
		return nil, hint.With(errors.New("it is not encrypted, although there is a key for it"),
			"Encrypt the file with age. Change the password if others may have read it.")
	}
	return f.encryption.decrypt(content)
}

// replace replaces the content of the file. The caller holds the lock.
func (f *File) replace(content []byte) error {
	err := atomicfile.WriteLocked(f.path, content, f.step)
	switch {
	case errors.Is(err, atomicfile.ErrNotDurable):
		return f.failed("it was saved, but the old one may be back after a power failure: ", bare(err))
	case err != nil:
		return f.failed("nothing was saved, and the old credential is kept: ", bare(err))
	}
	return f.step("done")
}

func (f *File) failed(what string, err error) error {
	return fmt.Errorf("credential: file %s: %s%w", f.path, what, err)
}

// maxFile is the maximum size of the file. Each recipient of the encryption adds to it.
const maxFile = 2 * document.MaxBytes
