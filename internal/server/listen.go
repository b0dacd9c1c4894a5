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

// ListenUnix makes a socket at path, as that of the admin API, for its owner only. A
// socket that a dead server left behind is replaced; one that a living server
// answers on is an error.
//
// Between making the socket and setting its mode there is a moment, so the
// directory has to be its owner's alone, too.
func ListenUnix(path string) (net.Listener, error) {
	if info, err := os.Lstat(path); err == nil {
		if info.Mode()&fs.ModeSocket == 0 {
			return nil, fmt.Errorf("%s is in the way of the socket and is not a socket; move it elsewhere", path)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if conn, err := (&net.Dialer{}).DialContext(ctx, "unix", path); err == nil {
			_ = conn.Close() // it served its purpose
			return nil, fmt.Errorf("another server is answering on %s; stop it, or use another path (that of the admin socket is in the data directory)", path)
		}
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("remove the socket that a dead server left: %w", err)
		}
	}
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "unix", path)
	switch {
	case errors.Is(err, syscall.EINVAL):
		return nil, fmt.Errorf("the path of the socket has %d characters, more than a socket may have; use a data directory with a shorter path", len(path))
	case err != nil:
		return nil, fmt.Errorf("make the socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("close the socket to others: %w", err), listener.Close())
	}
	return listener, nil
}
