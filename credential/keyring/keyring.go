// Package keyring keeps an upstream's credential in the keyring of the operating
// system: the Keychain of macOS, the Credential Manager of Windows, the Secret
// Service of a Linux desktop (GNOME Keyring, KWallet).
//
//	store, err := keyring.New(keyring.Config{Name: "thingspace"})
//
// A keyring is for a person's own machine. Servers have none: there each use says
// so at once, and within three seconds where a keyring waits to be unlocked.
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
	"github.com/latchkey/latchkey/internal/oskeyring"
)

// service is the name under which a person sees the entries.
const service = "latchkey"

const (
	// lockPoll is how often a Save looks whether the lock is free, and lockLimit
	// how long it waits: others hold it for as long as the keyring takes.
	lockPoll  = 10 * time.Millisecond
	lockLimit = 10 * time.Second
)

// Config says which entry of the keyring it is.
type Config struct {
	// Name tells it from others; required.
	Name string
	// LockDirectory is where those who save exclude each other. Default: a
	// directory of the user's own, among the caches.
	LockDirectory string
}

// Store is a credential.Store in the keyring. It holds the same JSON as a
// credential.File. A keyring cannot replace one version and no other by itself,
// so those who save through this package exclude each other by a lock; a change
// by other hands within the milliseconds between looking and saving is lost.
type Store struct {
	name, lock string
}

var _ credential.Store = (*Store)(nil)

// New answers the Store, or what is wrong with the configuration. It does not ask
// the keyring.
func New(config Config) (*Store, error) {
	if config.Name == "" {
		return nil, errors.New("credential: keyring: the name is empty")
	}
	if config.LockDirectory == "" {
		caches, err := os.UserCacheDir()
		if err != nil {
			return nil, fmt.Errorf("credential: keyring: %w: name a LockDirectory", err)
		}
		config.LockDirectory = filepath.Join(caches, "latchkey")
	}
	if err := os.MkdirAll(config.LockDirectory, 0o700); err != nil {
		return nil, fmt.Errorf("credential: keyring: %w", err)
	}
	sum := sha256.Sum256([]byte(config.Name)) // a name may hold what a file name may not
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
		return "", s.failed(unchanged+"it could not be locked: ", err)
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
		return "", s.failed("it may have been saved or not: ", err)
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
	if errors.Is(err, oskeyring.ErrAway) {
		what = "a credential.File is for hosts without one: " + what
	}
	return fmt.Errorf("credential: keyring %s: %s%w", s.name, what, err)
}
