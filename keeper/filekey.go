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

	"filippo.io/age"

	"github.com/latchkey/latchkey/internal/atomicfile"
	"github.com/latchkey/latchkey/internal/oskeyring"
)

// keyStore is where the key of a state file is kept. identity returns fs.ErrNotExist if
// there is no key. create creates one, and is called under the lock.
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
	if info.Mode().Perm()&0o077 != 0 && runtime.GOOS != "windows" { // where these bits mean nothing
		return nil, &hintedError{
			text: fmt.Sprintf("keeper: key file %s: other users may read it (mode %04o)", k.path, info.Mode().Perm()),
			hint: "Run chmod 600 on it.",
		}
	}
	content, err := os.ReadFile(k.path)
	if err != nil {
		return nil, fmt.Errorf("keeper: key file: %w", err)
	}
	identity, err := age.ParseX25519Identity(string(bytes.TrimSpace(content)))
	if err != nil {
		return nil, &hintedError{
			text: fmt.Sprintf("keeper: key file %s: not the key of a state file", k.path),
			hint: "Restore it, or move it and the state file away to start with an empty state.",
		}
	}
	return identity, nil
}

func (k *keyFile) create(context.Context) (*age.X25519Identity, error) {
	identity, err := age.GenerateX25519Identity()
	if err == nil {
		err = atomicfile.WriteLocked(k.path, []byte(identity.String()+"\n"), nil)
	}
	if err != nil {
		return nil, fmt.Errorf("keeper: key file: %w", err)
	}
	return identity, nil
}

// keyring is a key in the keyring of the operating system, which is read once.
type keyring struct {
	service, user string

	mu   sync.Mutex // guards held; locked during a use of the keyring, which is bounded
	held *age.X25519Identity
}

func (k *keyring) identity(ctx context.Context) (*age.X25519Identity, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.held != nil {
		return k.held, nil
	}
	text, err := oskeyring.Get(ctx, k.service, k.user)
	if err != nil {
		return nil, k.failed(err)
	}
	identity, err := age.ParseX25519Identity(text)
	if err != nil {
		return nil, fmt.Errorf("keeper: keyring: the value of %q is not the key of a state file", k.service)
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
	if err := oskeyring.Set(ctx, k.service, k.user, identity.String()); err != nil {
		return nil, k.failed(err)
	}
	k.held = identity
	return identity, nil
}

// failed returns an error of the keyring.
func (k *keyring) failed(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("keeper: keyring: %w", err)
	}
	return &hintedError{text: "keeper: keyring", err: err, hint: "NewFileState keeps the key in a file instead."}
}
