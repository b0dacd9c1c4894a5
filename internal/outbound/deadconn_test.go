package outbound_test

import (
	"context"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/pipenet"
)

// Thirty seconds after the network forgot the connections, no request uses one of them.
func TestDeadConnectionsAreClosed(t *testing.T) {
	forEachProtocol(t, func(t *testing.T, protocol string, n *pipenet.Network, transport *http.Transport) {
		var all sync.WaitGroup
		for range 10 {
			all.Go(func() {
				if got, err := get(t.Context(), transport, "/"); err != nil || got != protocol {
					t.Errorf("before: %q, %v", got, err)
				}
			})
		}
		all.Wait()
		n.Forget()
		failed, began := 0, time.Now()
		for time.Since(began) < 30*time.Second {
			if getWithin(t, transport, 6*time.Second) != nil {
				failed++
			}
			pipenet.Pass(100 * time.Millisecond)
		}
		if failed == 0 {
			t.Error("no request failed: no connection was dead")
		}
		for range 50 {
			if err := getWithin(t, transport, 6*time.Second); err != nil {
				t.Error("after 30 seconds a request still fails:", err)
			}
		}
	})
}

func getWithin(t *testing.T, transport http.RoundTripper, limit time.Duration) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	_, err := get(ctx, transport, "/")
	return err
}
