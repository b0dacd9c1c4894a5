package outbound_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey/latchkey/internal/outbound"
	"github.com/latchkey/latchkey/internal/pipenet"
)

// slow is the path of a request that takes seven minutes.
const slow = "/slow"

// forEachProtocol runs a test over HTTP/2 and HTTP/1.1 in a synctest bubble, with an
// in-memory network and a transport that LoseDeadConnections was called on.
func forEachProtocol(
	t *testing.T, test func(t *testing.T, protocol string, n *pipenet.Network, transport *http.Transport),
) {
	for protocol, enable := range map[string]func(*http.Protocols, bool){
		"HTTP/2.0": (*http.Protocols).SetHTTP2,
		"HTTP/1.1": (*http.Protocols).SetHTTP1,
	} {
		t.Run(protocol, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				protocols := new(http.Protocols)
				enable(protocols, true)
				n, transport := serve(t, protocols)
				test(t, protocol, n, transport)
			})
		})
	}
}

// serve runs an HTTPS server that responds with the protocol, until the test ends.
func serve(t *testing.T, protocols *http.Protocols) (*pipenet.Network, *http.Transport) {
	t.Helper()
	t.Cleanup(func() { pipenet.Pass(time.Minute) }) // closed connections linger for a few seconds
	n := pipenet.New()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == slow {
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

// get sends a GET request and returns the body of the response.
func get(ctx context.Context, transport http.RoundTripper, path string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://example.com"+path, http.NoBody)
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
