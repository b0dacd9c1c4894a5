// Package keyring keeps an upstream's credential in the keyring of the operating
// system: the Keychain of macOS, the Credential Manager of Windows, the Secret
// Service of a Linux desktop (GNOME Keyring, KWallet).
//
//	store, err := keyring.New(keyring.Config{Name: "thingspace"})
//
// A keyring is for a personal computer. On a server, which has none, each use fails at
// once, or after three seconds if a keyring waits to be unlocked.
package keyring

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"

	"github.com/latchkey/latchkey/credential"
	"github.com/latchkey/latchkey/credential/internal/document"
	"github.com/latchkey/latchkey/credential/internal/hint"
	"github.com/latchkey/latchkey/internal/oskeyring"
)

// service is the name that the keyring shows for the entries.
const service = "latchkey"

const (
	// Save tries to take the lock every lockPoll, for at most lockLimit. Others hold it
	// for as long as the keyring takes.
	lockPoll  = 10 * time.Millisecond
	lockLimit = 10 * time.Second
)

// Config is the configuration of a Store. Name is required.
type Config struct {
	// Name is the name of the entry.
	Name string
	// LockDirectory is the directory of the lock that excludes concurrent saves. Default:
	// a directory in the user's cache directory.
	LockDirectory string
}

// Store is a credential.Store in the keyring. It holds the same JSON as a credential.File.
// A keyring has no compare-and-swap, so saves through this package exclude each other with
// a lock. A change by another program in the milliseconds between the comparison and the
// save is lost.
type Store struct {
	name, lock string
}

var _ credential.Store = (*Store)(nil)

// New returns the Store, or an error if the configuration is not valid. It does not access
// the keyring.
func New(config Config) (*Store, error) {
	if config.Name == "" {
		return nil, errors.New("credential: keyring: the name is empty")
	}
	if config.LockDirectory == "" {
		caches, err := os.UserCacheDir()
		if err != nil {
			return nil, fmt.Errorf("credential: keyring: no default for LockDirectory: %w", err)
		}
		config.LockDirectory = filepath.Join(caches, "latchkey")
	}
	if err := os.MkdirAll(config.LockDirectory, 0o700); err != nil {
		return nil, fmt.Errorf("credential: keyring: %w", err)
	}
	sum := sha256.Sum256([]byte(config.Name)) // a name may contain characters that a file name may not
	return &Store{config.Name, filepath.Join(config.LockDirectory, "keyring-"+hex.EncodeToString(sum[:8])+".lock")}, nil
}

// Load implements credential.Store.
func (s *Store) Load(ctx context.Context) (credential.Credential, error) {
	_, c, err := s.read(ctx)
	return c, err
}

// Save implements credential.Store.
func (s *Store) Save(ctx context.Context, next credential.Credential) (string, error) {
	const unchanged = "nothing was saved: "
	if err := next.Check(); err != nil {
		return "", s.failed(unchanged, err)
	}
	ctx, cancel := context.WithTimeout(ctx, lockLimit)
	defer cancel()
	lock := flock.New(s.lock, flock.SetPermissions(0o600))
	if _, err := lock.TryLockContext(ctx, lockPoll); err != nil {
		return "", s.failed(unchanged+"cannot lock it: ", err)
	}
	defer func() { _ = lock.Close() }()
	kept, now, err := s.read(ctx)
	if errors.Is(err, credential.ErrNotFound) {
		kept, err = document.Document{}, nil
	}
	if err != nil {
		return "", err
	}
	if now.Version != next.Version {
		return "", fmt.Errorf("credential: keyring %s: %w", s.name, credential.ErrConflict)
	}
	kept.Set(next.User, next.Password)
	kept.Salt()
	if err := oskeyring.Set(ctx, service, s.name, string(kept.Encode())); err != nil {
		return "", s.failed("it may or may not have been saved: ", err)
	}
	return kept.Version(), nil
}

func (s *Store) read(ctx context.Context) (document.Document, credential.Credential, error) {
	text, err := oskeyring.Get(ctx, service, s.name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, credential.Credential{}, fmt.Errorf("credential: keyring %s: %w", s.name, credential.ErrNotFound)
	}
	if err != nil {
		return nil, credential.Credential{}, s.failed("", err)
	}
	kept, err := document.Parse([]byte(text))
	if err != nil {
		return nil, credential.Credential{}, s.failed("", err)
	}
	user, password, err := kept.Get()
	if err != nil {
		return nil, credential.Credential{}, s.failed("", err)
	}
	return kept, credential.Credential{User: user, Password: password, Version: kept.Version()}, nil
}

func (s *Store) failed(what string, err error) error {
	if errors.Is(err, oskeyring.ErrNoKeyring) {
		err = hint.With(err, "Use a credential.File on hosts without a keyring.")
	}
	return fmt.Errorf("credential: keyring %s: %s%w", s.name, what, err)
}
