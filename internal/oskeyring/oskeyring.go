// Package oskeyring accesses the keyring of the operating system, and waits for it for at
// most three seconds: a keyring on a host without a screen may wait forever to be unlocked.
package oskeyring

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"time"

	"github.com/zalando/go-keyring"
)

const limit = 3 * time.Second

var errTimeout = fmt.Errorf("no result within %v: the keyring may be waiting to be unlocked", limit)

// ErrNoKeyring means that this host has no keyring.
var ErrNoKeyring = errors.New("no session bus (DBUS_SESSION_BUS_ADDRESS is not set), and so no keyring")

// Get returns the secret of a user of a service. The error is fs.ErrNotExist if there is
// none.
func Get(ctx context.Context, service, user string) (string, error) {
	return call(ctx, func() (string, error) { return keyring.Get(service, user) })
}

// Set stores the secret of a user of a service. If it times out, the secret may have been
// stored.
func Set(ctx context.Context, service, user, text string) error {
	_, err := call(ctx, func() (string, error) { return "", keyring.Set(service, user, text) })
	return err
}

// inUse is held by the only call in progress, so that a keyring that hangs blocks one
// goroutine at most.
var inUse = make(chan struct{}, 1)

// call calls the keyring and limits the time. Calls cannot be canceled: one that hangs
// leaves a goroutine behind.
func call(ctx context.Context, access func() (string, error)) (string, error) {
	if !available() {
		return "", ErrNoKeyring
	}
	if err := ctx.Err(); err != nil {
		return "", context.Cause(ctx)
	}
	type result struct {
		text string
		err  error
	}
	results := make(chan result, 1)
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case inUse <- struct{}{}:
		go func() {
			text, err := access()
			<-inUse
			results <- result{text, err}
		}()
	case <-timer.C:
		return "", errTimeout
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
	select {
	case r := <-results:
		if errors.Is(r.err, keyring.ErrNotFound) {
			return "", fs.ErrNotExist
		}
		return r.text, r.err
	case <-timer.C:
		return "", errTimeout
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

// available reports whether there can be a keyring. Without a session bus the library
// would try to start one.
func available() bool {
	switch runtime.GOOS {
	case "darwin", "windows":
		return true
	}
	return os.Getenv("DBUS_SESSION_BUS_ADDRESS") != ""
}
