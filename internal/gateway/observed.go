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
	// repeated means that the transport sent it before, on a kept connection that was
	// dead. It may do that to a request that changes nothing.
	repeated bool
	earlier  bool // an earlier attempt was refused for its token, so not executed
}

func (e *attemptError) Unwrap() error { return e.error }

// RoundTrip implements http.RoundTripper.
func (o observed) RoundTrip(r *http.Request) (*http.Response, error) {
	t := transferOf(r.Context())
	t.ask()
	t.tokens.Store(tokensOf(r.Header))
	var a attempt
	trace := &httptrace.ClientTrace{GetConn: a.getConn, GotConn: a.gotConn}
	resp, err := o.RoundTripper.RoundTrip(r.WithContext(httptrace.WithClientTrace(r.Context(), trace)))
	if err != nil {
		return nil, &attemptError{
			error: err, maybeSent: a.connected.Load() || !o.native && !a.asked.Load(), repeated: a.repeated.Load(),
			earlier: t.attempts.Load() > 1,
		}
	}
	return resp, nil
}

// attempt records how far a request came.
type attempt struct{ asked, connected, repeated atomic.Bool }

// getConn is called when the transport wants a connection: once, or again if it
// found a kept one dead. Then it has written nothing, or the server has said that it
// will not process the request, or its method is one that changes nothing.
func (a *attempt) getConn(string) {
	a.asked.Store(true)
	if a.connected.Swap(false) {
		a.repeated.Store(true)
	}
}

// gotConn is called when there is a connection: resolving, dialing, the proxy and
// TLS are done, and the request is written next.
func (a *attempt) gotConn(httptrace.GotConnInfo) { a.connected.Store(true) }
