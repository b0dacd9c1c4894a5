package latchkey

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/latchkey/latchkey/internal/outbound"
	"github.com/latchkey/latchkey/internal/wire"
)

// transports are the two HTTP clients. Neither follows redirects.
type transports struct {
	shared *http.Client // reuses connections
	once   *http.Client // opens a connection for each request and never repeats one
	native bool         // both end in an *http.Transport (outbound.Native), which reports every step to httptrace
}

func newTransports(base *http.Client) transports {
	shared, once := *base, *base
	// A redirect would send the tokens, or the body with the password, to another URL.
	shared.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	once.CheckRedirect = shared.CheckRedirect
	transport := base.Transport
	if transport == nil {
		transport = http.DefaultTransport
	}
	native, ok := outbound.Native(transport)
	if ok {
		once.Transport = onceTransport(native)
	}
	return transports{shared: &shared, once: &once, native: ok}
}

// onceTransport returns a copy of t that cannot send a request twice. An http.Transport
// repeats a replayable request if a reused connection is dead, and in HTTP/2 every request
// that a server refuses with GOAWAY or REFUSED_STREAM. Over HTTP/1.1 on a new connection
// it does neither.
func onceTransport(t *http.Transport) *http.Transport {
	t = t.Clone()
	t.DisableKeepAlives = true
	t.ForceAttemptHTTP2 = false
	t.Protocols = new(http.Protocols)
	t.Protocols.SetHTTP1(true)
	t.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
	if t.TLSClientConfig != nil {
		t.TLSClientConfig.NextProtos = []string{"http/1.1"}
	}
	return t
}

// unrepeatable removes from req what lets a transport send it again: GetBody, the reuse of
// the connection, and, without keepsKey, the header that declares a request repeatable. If
// the transport is not an http.Transport, there is nothing else to do.
func unrepeatable(req *http.Request, keepsKey bool) {
	req.Close = true
	req.GetBody = nil
	if !keepsKey {
		req.Header.Del(wire.HeaderIdempotency)
		req.Header.Del("X-" + wire.HeaderIdempotency)
	}
	if req.Body != nil && req.Body != http.NoBody {
		// The type of the body is hidden, so that it is a stream that can be read once.
		// Because of req.ContentLength it is not sent in chunks.
		req.Body = struct{ io.ReadCloser }{req.Body}
	}
}

// newTransport returns the transport of a Client without Config.HTTPClient.
func newTransport() *http.Transport {
	t := &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout: 10 * time.Second,
		ForceAttemptHTTP2:   true,
		// Go keeps two idle connections to a host by default, and all
		// of ours go to one.
		MaxIdleConns:           64,
		MaxIdleConnsPerHost:    64,
		MaxResponseHeaderBytes: 64 << 10,
	}
	outbound.LoseDeadConnections(t)
	return t
}
