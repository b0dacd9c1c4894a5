package gateway_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/pipenet"
)

// addresses counts the connections to an upstream whose address changes.
type addresses struct {
	mu      sync.Mutex
	moved   bool
	lastOld time.Time // when something was last written to the old one
	dials   int
}

// written is a connection to the old address.
type written struct {
	net.Conn

	addresses *addresses
}

func (c *written) Write(p []byte) (int, error) {
	c.addresses.mu.Lock()
	c.addresses.lastOld = time.Now()
	c.addresses.mu.Unlock()
	return c.Conn.Write(p)
}

// through makes a count the connections of t.
func (a *addresses) through(t *http.Transport) {
	plain := t.DialContext
	t.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := plain(ctx, network, address)
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.dials++; err != nil || a.moved {
			return conn, err
		}
		return &written{conn, a}, nil
	}
}

// The transport finds the upstream's new address although the traffic is so steady that no
// connection is idle for long, and although the old address still responds.
func TestTheTransportFollowsANewAddress(t *testing.T) {
	t.Parallel()
	for name, set := range map[string]func(*http.Protocols, bool){
		"HTTP/1.1": (*http.Protocols).SetHTTP1, "HTTP/2": (*http.Protocols).SetUnencryptedHTTP2,
	} {
		t.Run(name, func(t *testing.T) {
			var a addresses
			inWorld(t, setting{
				handler: func(w http.ResponseWriter, r *http.Request) {
					pipenet.Pass(time.Second)
					_, _ = io.WriteString(w, r.Proto)
				},
				transport: func(t *http.Transport) {
					t.Protocols = new(http.Protocols)
					set(t.Protocols, true)
					a.through(t)
				},
			}, func(w *world) {
				steady := func(lasting time.Duration) {
					var all sync.WaitGroup
					for range 3 {
						all.Go(func() {
							for began := time.Now(); time.Since(began) < lasting; pipenet.Pass(time.Second) {
								if got := w.good(http.MethodPost, "/api/x", strings.NewReader("{}")); !strings.HasPrefix(got, name) {
									w.Errorf("the upstream received %s", got)
								}
							}
						})
					}
					all.Wait()
				}
				steady(time.Minute)
				a.mu.Lock()
				a.moved = true
				a.mu.Unlock()
				began := time.Now()
				steady(8 * time.Minute)
				if took := a.lastOld.Sub(began); took <= 0 || took > 6*time.Minute {
					w.Errorf("the old address was used for %v", took)
				}
				if a.dials > 30 { // one for each request would be hundreds
					w.Errorf("%d connections for three requests at a time", a.dials)
				}
			})
		})
	}
}

// If the upstream announces how long it keeps a connection, the transport does not use one
// close to its end. A request on its way then would be lost, and only a request that
// changes nothing could be repeated.
func TestTheTransportObeysKeepAlive(t *testing.T) {
	t.Parallel()
	for hint, used := range map[string]bool{
		"timeout=5": true, "Timeout = \"5\"": true, "max=100, timeout=5": true, "timeout=1": true, "timeout=0": true,
		"": false, "max=100": false, "timeout=x": false, "timeout=-5": false, "timeout=60": false,
		"timeout=99999999999999999999": false,
	} {
		t.Run(hint, func(t *testing.T) {
			var a addresses
			inWorld(t, setting{
				handler: func(w http.ResponseWriter, _ *http.Request) {
					if hint != "" {
						w.Header().Set("Keep-Alive", hint)
					}
				},
				transport: a.through,
			}, func(w *world) {
				w.good(http.MethodPost, "/api/x", strings.NewReader("{}"))
				for range 5 {
					pipenet.Pass(200 * time.Millisecond)
					w.good(http.MethodPost, "/api/x", strings.NewReader("{}"))
				}
				if a.dials > 2 {
					w.Errorf("%d connections for requests in a row", a.dials)
				}
				before := a.dials
				pipenet.Pass(4500 * time.Millisecond)
				w.good(http.MethodPost, "/api/x", strings.NewReader("{}"))
				if opened := a.dials > before; opened != used {
					w.Errorf("another connection after 4.5 s: %v", opened)
				}
			})
		})
	}
}
