package outbound_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey/latchkey/internal/outbound"
	"github.com/latchkey/latchkey/internal/pipenet"
)

// serve runs an HTTPS server on an network in memory until the test ends.
func serve(t *testing.T, protocols *http.Protocols) (*pipenet.Network, *http.Transport) {
	t.Helper()
	t.Cleanup(func() { pipenet.Pass(time.Minute) }) // what was closed has a few seconds to be read
	n := pipenet.New()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			pipenet.Pass(7 * time.Minute)
		}
		_, _ = io.WriteString(w, r.Proto)
	}))
	_ = s.Listener.Close()
	s.Listener = n
	s.EnableHTTP2 = protocols.HTTP2()
	s.StartTLS()
	t.Cleanup(s.Close)
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	transport := &http.Transport{
		DialContext: n.Dial, Protocols: protocols, MaxIdleConnsPerHost: 64,
		TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "example.com", MinVersion: tls.VersionTLS12},
	}
	outbound.LoseDeadConnections(transport)
	t.Cleanup(transport.CloseIdleConnections)
	return n, transport
}

func get(ctx context.Context, transport http.RoundTripper) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://example.com/", http.NoBody)
	if err != nil {
		return "", err
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return "", err
	}
	body, err := io.ReadAll(resp.Body)
	return string(body), errors.Join(err, resp.Body.Close())
}

// A connection that was in use, one that was idle, and several at once: 30 seconds
// after the network forgot them, none of them is used.
func TestDeadConnectionsAreNotUsedForLong(t *testing.T) {
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
				n, transport := serve(t, protocols)
				var all sync.WaitGroup
				for range 10 {
					all.Go(func() {
						if proto, err := get(t.Context(), transport); err != nil || proto != c.proto {
							t.Errorf("before: %q, %v", proto, err)
						}
					})
				}
				all.Wait()
				n.Forget()
				failed, began := 0, time.Now()
				for time.Since(began) < 30*time.Second {
					ctx, cancel := context.WithTimeout(t.Context(), 6*time.Second)
					_, err := get(ctx, transport)
					cancel()
					if err != nil {
						failed++
					}
					pipenet.Pass(100 * time.Millisecond)
				}
				if failed == 0 {
					t.Error("no connection was dead: the test shows nothing")
				}
				for range 50 {
					ctx, cancel := context.WithTimeout(t.Context(), 6*time.Second)
					if _, err := get(ctx, transport); err != nil {
						t.Error("after 30 seconds a request still fails:", err)
					}
					cancel()
				}
			})
		})
	}
}
