package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"
	"time"
)

// ListenUnix listens on a Unix socket at path, such as that of the admin API, that only
// its owner can use. It replaces a socket that a dead server left behind. A socket on
// which a server responds is an error.
//
// The socket is open to others for the moment before its mode is set, so its directory
// must belong to the owner alone, too.
func ListenUnix(path string) (net.Listener, error) {
	if info, err := os.Lstat(path); err == nil {
		if info.Mode()&fs.ModeSocket == 0 {
			return nil, &socketError{path + " is not a socket", "Move it to another place."}
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if conn, err := (&net.Dialer{}).DialContext(ctx, "unix", path); err == nil {
			_ = conn.Close() // the connection itself was the test
			return nil, &socketError{"another server uses " + path,
				"Stop it, or use another path. The admin socket is in the data directory."}
		}
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("remove the socket of a dead server: %w", err)
		}
	}
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "unix", path)
	switch {
	case errors.Is(err, syscall.EINVAL):
		return nil, &socketError{fmt.Sprintf("the path of the socket is too long: %d characters", len(path)),
			"Use a data directory with a shorter path."}
	case err != nil:
		return nil, fmt.Errorf("make the socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("restrict the socket to its owner: %w", err), listener.Close())
	}
	return listener, nil
}

// socketError is a reason why a socket cannot be used, and what to do about it.
type socketError struct{ problem, hint string }

func (e *socketError) Error() string { return e.problem }

// Hint returns what to do.
func (e *socketError) Hint() string { return e.hint }
