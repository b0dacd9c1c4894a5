package enginetest

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
)

// Ports are chosen below the range of ephemeral ports. Otherwise a client that dials the port of
// a stopped server could get this very port for its own end, and connect to itself. A node of a
// Redis cluster also uses the port that is 10,000 higher, which is below the range as well.
const (
	firstPort = 12_000
	ports     = 10_000
	busOffset = 10_000
)

// freePort returns a port that is free. If above is not zero, the port that is higher by above
// is free as well.
func freePort(above int) (int, error) {
	for range ports {
		port := firstPort + rand.IntN(ports) //nolint:gosec // not a secret
		if free(port) && (above == 0 || free(port+above)) {
			return port, nil
		}
	}
	return 0, errors.New("no free port")
}

func free(port int) bool {
	listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", address(port))
	return err == nil && listener.Close() == nil
}

func address(port int) string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
}
