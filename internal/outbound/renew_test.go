package outbound_test

import (
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/outbound"
	"github.com/latchkey/latchkey/internal/pipenet"
)

// Connections are replaced every five minutes by others of the same protocol, and a
// request in flight is not interrupted.
func TestConnectionsAreRenewed(t *testing.T) {
	forEachProtocol(t, func(t *testing.T, protocol string, n *pipenet.Network, template *http.Transport) {
		transport := outbound.Renew(template)
		t.Cleanup(transport.CloseIdleConnections)
		var all sync.WaitGroup
		all.Go(func() {
			if _, err := get(t.Context(), transport, slow); err != nil {
				t.Errorf("the request in flight: %v", err)
			}
		})
		for began := time.Now(); time.Since(began) < 14*time.Minute; pipenet.Pass(time.Second) {
			if got, err := get(t.Context(), transport, "/"); err != nil || got != protocol {
				t.Fatalf("after %v: %q, %v", time.Since(began), got, err)
			}
		}
		all.Wait()
		if dialed := n.Dialed(); dialed < 3 || dialed > 5 {
			t.Errorf("%d connections in 14 minutes, want one per five minutes and one for the slow request", dialed)
		}
	})
}
