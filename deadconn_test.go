package latchkey_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey/latchkey"
)

// silenced is a connection that swallows what is written to it once the network has
// gone, as a firewall does that has forgotten it.
type silenced struct {
	net.Conn

	gone *atomic.Bool
}

func (s silenced) Write(p []byte) (int, error) {
	if s.gone.Load() {
		return len(p), nil
	}
	return s.Conn.Write(p)
}

// newHTTP2API is newPipeAPI over TLS and HTTP/2, with the Client's own transport. silence
// makes the present connections deaf.
func newHTTP2API(t *testing.T) (a *api, config func(*latchkey.Config), silence func()) {
	l := &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
	a = newHandler()
	a.Server = &httptest.Server{Listener: l, Config: &http.Server{Handler: a, ErrorLog: discardLog()}, EnableHTTP2: true}
	a.StartTLS()
	t.Cleanup(a.Close)
	transport := latchkey.NewTransport()
	roots := x509.NewCertPool()
	roots.AddCert(a.Certificate())
	transport.TLSClientConfig = &tls.Config{RootCAs: roots, ServerName: "example.com", MinVersion: tls.VersionTLS12}
	present := new(atomic.Bool)
	transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := l.dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return silenced{conn, present}, nil
	}
	return a, func(c *latchkey.Config) { c.HTTPClient = &http.Client{Transport: transport} }, func() {
		present.Store(true)
		present = new(atomic.Bool)
	}
}

func TestDeadHTTP2ConnectionIsReplacedWithinHalfAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, config, silence := newHTTP2API(t)
		client := after(t, a, config)
		if err := logOut(t.Context(), client); err != nil {
			t.Fatal(err)
		}
		silence()
		start := time.Now()
		failed := 0
		for ; ; failed++ { // each gives up on its own long before the connection would
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			err := logOut(ctx, client)
			cancel()
			if err == nil {
				break
			}
			var lost *latchkey.TransportError
			if !errors.As(err, &lost) || !lost.MaybeSent {
				t.Fatalf("error %v, want one that says that the request may have been sent", err)
			}
			if time.Since(start) > 30*time.Second {
				t.Fatalf("the dead connection is still used after %v and %d requests", time.Since(start), failed)
			}
		}
		if failed == 0 {
			t.Error("no request met the dead connection: the test shows nothing")
		}
	})
}
