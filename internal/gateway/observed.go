package gateway

import (
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
)

// observed is the transport to the upstream. Its errors tell how far a request came.
type observed struct {
	http.RoundTripper

	native bool // it is an *http.Transport, which reports every step to httptrace
}

// attemptError is an error of an observed transport.
type attemptError struct {
	error

	// maybeSent means that part of the request may have been sent. A transport that
	// reports nothing gets no benefit of the doubt.
	maybeSent bool
	earlier   bool // an earlier attempt was refused for its token, so not executed
}

func (e *attemptError) Unwrap() error { return e.error }

// RoundTrip implements http.RoundTripper.
func (o observed) RoundTrip(r *http.Request) (*http.Response, error) {
	t := transferOf(r.Context())
	t.ask()
	a := attempt{safe: isSafe(r.Method)}
	trace := &httptrace.ClientTrace{GetConn: a.getConn, GotConn: a.gotConn}
	resp, err := o.RoundTripper.RoundTrip(r.WithContext(httptrace.WithClientTrace(r.Context(), trace)))
	if err != nil {
		return nil, &attemptError{error: err, maybeSent: a.connected.Load() || !o.native && !a.asked.Load(), earlier: t.attempts.Load() > 1}
	}
	return resp, nil
}

// attempt records how far a request came.
type attempt struct {
	safe             bool
	asked, connected atomic.Bool
}

// getConn is called when the transport wants a connection: once, or again if it
// found a kept one dead. Then it has written nothing of a request that may change
// something, or the server has said that it will not process it.
func (a *attempt) getConn(string) {
	a.asked.Store(true)
	if !a.safe {
		a.connected.Store(false)
	}
}

// gotConn is called when there is a connection: resolving, dialing, the proxy and
// TLS are done, and the request is written next.
func (a *attempt) gotConn(httptrace.GotConnInfo) { a.connected.Store(true) }

// isSafe reports whether net/http sends a request of this method again although it
// may have been sent already.
func isSafe(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return true
	}
	return false
}
