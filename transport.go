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

// transports are the two ways out. Neither follows redirects.
type transports struct {
	shared *http.Client // keeps connections
	once   *http.Client // opens a connection for each request and never sends one again
	native bool         // both end in an *http.Transport (outbound.Native), which reports every step to httptrace
}

func newTransports(base *http.Client) transports {
	shared, once := *base, *base
	// A redirect would take the bearer, the session token or the body with the
	// password to wherever the answer points.
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

// onceTransport is a copy of t that cannot send a request twice. An
// http.Transport repeats what it deems replayable when a kept connection turns
// out to be dead, and its HTTP/2 half repeats whatever a server refuses with
// GOAWAY or REFUSED_STREAM. Over HTTP/1.1 on a new connection it does neither.
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

// unrepeatable takes from req what would let a transport send it again: a body
// that can be had a second time, the wish to keep the connection, and, unless it
// keepsKey, the header that declares a request repeatable. This is all that can be
// done if the transport is of a foreign type.
func unrepeatable(req *http.Request, keepsKey bool) {
	req.Close = true
	req.GetBody = nil
	if !keepsKey {
		req.Header.Del(wire.HeaderIdempotency)
		req.Header.Del("X-" + wire.HeaderIdempotency)
	}
	if req.Body != nil && req.Body != http.NoBody {
		// Hidden behind a type of its own, the body is a stream that is gone once
		// read; req.ContentLength keeps it from being sent in chunks.
		req.Body = struct{ io.ReadCloser }{req.Body}
	}
}

// newTransport is what carries the requests unless the caller brings a
// transport.
func newTransport() *http.Transport {
	t := &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout: 10 * time.Second,
		ForceAttemptHTTP2:   true,
		// Go keeps two idle connections to a host unless told otherwise, and all
		// of ours go to one.
		MaxIdleConns:           64,
		MaxIdleConnsPerHost:    64,
		MaxResponseHeaderBytes: 64 << 10,
	}
	outbound.LoseDeadConnections(t)
	return t
}
