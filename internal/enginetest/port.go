package enginetest

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
)

// Ports are taken from below the range that the system gives to outgoing connections:
// while a server is down, a client that dials its port would otherwise sometimes be
// given that very port, and be connected to itself. A member of a Redis cluster also
// uses the port ten thousand higher, which is still below it.
const (
	firstPort = 12_000
	ports     = 10_000
	busOffset = 10_000
)

// freePort is a port that nothing uses now, and nothing the one that many higher, if
// above is not zero.
func freePort(above int) (int, error) {
	for range ports {
		port := firstPort + rand.IntN(ports) //nolint:gosec // spreading needs no secrecy
		if free(port) && (above == 0 || free(port+above)) {
			return port, nil
		}
	}
	return 0, errors.New("no port is free")
}

func free(port int) bool {
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", address(port))
	return err == nil && listener.Close() == nil
}

func address(port int) string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
}
