package outbound_test

import (
	"context"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey/latchkey/internal/outbound"
	"github.com/latchkey/latchkey/internal/pipenet"
)

// Connections are replaced every five minutes, in the same protocol, and what is under
// way on one that is replaced goes on.
func TestConnectionsAreRenewed(t *testing.T) {
	for _, c := range []struct {
		name, proto string
		set         func(*http.Protocols, bool)
	}{
		{"HTTP/2", "HTTP/2.0", (*http.Protocols).SetHTTP2},
		{"HTTP/1.1", "HTTP/1.1", (*http.Protocols).SetHTTP1},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				protocols := new(http.Protocols)
				c.set(protocols, true)
				n, template := serve(t, protocols)
				transport := outbound.Renew(template)
				t.Cleanup(transport.CloseIdleConnections)
				var all sync.WaitGroup
				all.Go(func() { // while others renew, a request waits
					ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
					defer cancel()
					req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://example.com/slow", http.NoBody)
					if err != nil {
						t.Error(err)
						return
					}
					resp, err := transport.RoundTrip(req)
					if err != nil {
						t.Errorf("the request under way: %v", err)
						return
					}
					_ = resp.Body.Close()
				})
				for began := time.Now(); time.Since(began) < 14*time.Minute; pipenet.Pass(time.Second) {
					if proto, err := get(t.Context(), transport); err != nil || proto != c.proto {
						t.Fatalf("after %v: %q, %v", time.Since(began), proto, err)
					}
				}
				all.Wait()
				if dialed := n.Dialed(); dialed < 3 || dialed > 5 {
					t.Errorf("%d connections in 14 minutes, want one each five minutes, and one more for the slow request", dialed)
				}
			})
		})
	}
}
