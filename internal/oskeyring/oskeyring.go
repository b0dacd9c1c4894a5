// Package oskeyring asks the operating system's keyring, and waits no longer than
// three seconds for it: on a host without a screen it may wait for somebody to
// unlock it, for ever.
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

var errNoAnswer = fmt.Errorf("no answer within %v, as if it waited to be unlocked", limit)

// ErrAway means that there is no keyring here.
var ErrAway = errors.New("there is no session bus here (DBUS_SESSION_BUS_ADDRESS is not set), so no keyring either")

// Get answers what is kept for a user of a service, or fs.ErrNotExist, or ErrAway.
func Get(ctx context.Context, service, user string) (string, error) {
	return ask(ctx, func() (string, error) { return keyring.Get(service, user) })
}

// Set keeps text for a user of a service. Where it answers that there was no
// answer in time, the text may be kept all the same.
func Set(ctx context.Context, service, user, text string) error {
	_, err := ask(ctx, func() (string, error) { return "", keyring.Set(service, user, text) })
	return err
}

// asking is held by the one question that is under way, so that a keyring that
// hangs holds up one goroutine and not more.
var asking = make(chan struct{}, 1)

// ask bounds a question to the keyring, which cannot be called back: one that
// hangs leaves a goroutine behind.
func ask(ctx context.Context, question func() (string, error)) (string, error) {
	if away() {
		return "", ErrAway
	}
	if err := ctx.Err(); err != nil {
		return "", context.Cause(ctx)
	}
	type reply struct {
		text string
		err  error
	}
	replies := make(chan reply, 1)
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case asking <- struct{}{}:
		go func() {
			text, err := question()
			<-asking
			replies <- reply{text, err}
		}()
	case <-timer.C:
		return "", errNoAnswer
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
	select {
	case r := <-replies:
		if errors.Is(r.err, keyring.ErrNotFound) {
			return "", fs.ErrNotExist
		}
		return r.text, r.err
	case <-timer.C:
		return "", errNoAnswer
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

// away reports whether asking is futile. Where there is no session bus, the
// library would try to start one.
func away() bool {
	switch runtime.GOOS {
	case "darwin", "windows":
		return false
	}
	return os.Getenv("DBUS_SESSION_BUS_ADDRESS") == ""
}
