package keeper

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"sync"
	"time"

	"filippo.io/age"
	oskeyring "github.com/zalando/go-keyring"
)

// keyStore is where the key of a state file is. identity answers fs.ErrNotExist
// where there is none; create makes one, and is called under the lock.
type keyStore interface {
	identity(ctx context.Context) (*age.X25519Identity, error)
	create(ctx context.Context) (*age.X25519Identity, error)
}

// keyFile is a key in a file.
type keyFile struct{ path string }

func (k *keyFile) identity(context.Context) (*age.X25519Identity, error) {
	info, err := os.Stat(k.path)
	if err != nil {
		return nil, fmt.Errorf("keeper: key file: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 && runtime.GOOS != "windows" { // which has no such bits
		return nil, fmt.Errorf("keeper: key file %s: others may read it (mode %04o): run chmod 600 on it", k.path, info.Mode().Perm())
	}
	content, err := os.ReadFile(k.path)
	if err != nil {
		return nil, fmt.Errorf("keeper: key file: %w", err)
	}
	identity, err := age.ParseX25519Identity(string(bytes.TrimSpace(content)))
	if err != nil {
		return nil, fmt.Errorf("keeper: key file %s does not hold the key of a state file: restore it, "+
			"or move it and the state file away to begin anew", k.path)
	}
	return identity, nil
}

func (k *keyFile) create(context.Context) (*age.X25519Identity, error) {
	identity, err := age.GenerateX25519Identity()
	if err == nil {
		err = replaceFile(k.path, []byte(identity.String()+"\n"))
	}
	if err != nil {
		return nil, fmt.Errorf("keeper: key file: %w", err)
	}
	return identity, nil
}

// keyring is a key in the operating system's keyring. It is asked once.
type keyring struct {
	service, user string

	mu   sync.Mutex // guards held; held while asking, which is bounded
	held *age.X25519Identity
}

// keyringLimit is how long the keyring may take. On a host without a screen it
// may wait for somebody to unlock it, for ever.
const keyringLimit = 3 * time.Second

func (k *keyring) identity(ctx context.Context) (*age.X25519Identity, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.held != nil {
		return k.held, nil
	}
	text, err := k.ask(ctx, func() (string, error) { return oskeyring.Get(k.service, k.user) })
	if err != nil {
		return nil, err
	}
	identity, err := age.ParseX25519Identity(text)
	if err != nil {
		return nil, fmt.Errorf("keeper: keyring: what is kept for %q there is not the key of a state file", k.service)
	}
	k.held = identity
	return identity, nil
}

func (k *keyring) create(ctx context.Context) (*age.X25519Identity, error) {
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		return nil, fmt.Errorf("keeper: keyring: %w", err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, err := k.ask(ctx, func() (string, error) {
		return "", oskeyring.Set(k.service, k.user, identity.String())
	}); err != nil {
		return nil, err
	}
	k.held = identity
	return identity, nil
}

// ask bounds a question to the keyring, which cannot be called back: one that
// hangs leaves a goroutine behind.
func (k *keyring) ask(ctx context.Context, question func() (string, error)) (string, error) {
	if keyringAway() {
		return "", errors.New("keeper: keyring: there is no session bus here (DBUS_SESSION_BUS_ADDRESS is not set), " +
			"so no keyring either: use NewFileState, which keeps its key in a file")
	}
	type reply struct {
		text string
		err  error
	}
	replies := make(chan reply, 1)
	go func() {
		text, err := question()
		replies <- reply{text, err}
	}()
	ctx, cancel := context.WithTimeout(ctx, keyringLimit)
	defer cancel()
	select {
	case r := <-replies:
		if errors.Is(r.err, oskeyring.ErrNotFound) {
			return "", fmt.Errorf("keeper: keyring: %w", fs.ErrNotExist)
		}
		if r.err != nil {
			return "", fmt.Errorf("keeper: keyring: %w", r.err)
		}
		return r.text, nil
	case <-ctx.Done():
		return "", fmt.Errorf("keeper: keyring: no answer within %v; is it locked? "+
			"NewFileState keeps its key in a file instead", keyringLimit)
	}
}

// keyringAway reports whether asking is futile. Where there is no session bus,
// the library would try to start one.
func keyringAway() bool {
	switch runtime.GOOS {
	case "darwin", "windows":
		return false
	}
	return os.Getenv("DBUS_SESSION_BUS_ADDRESS") == ""
}
