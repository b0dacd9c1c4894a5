package gateway

import (
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
)

// attemptTransport sends requests to the upstream. Its errors are attemptErrors.
type attemptTransport struct {
	http.RoundTripper

	native bool // it is an *http.Transport, which reports every step to httptrace
}

// attemptError is an error of an attempt, with how far the request came.
type attemptError struct {
	error

	// maybeSent means that part of the request may have been sent. It is true for a
	// transport that reports nothing to httptrace.
	maybeSent bool
	// repeated means that the transport had sent the request before, on an idle
	// connection that was dead. It may do that to a request that changes nothing.
	repeated bool
	earlier  bool // the upstream refused the token of an earlier attempt and executed nothing
}

func (e *attemptError) Unwrap() error { return e.error }

// RoundTrip implements http.RoundTripper.
func (tr attemptTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	t := transferOf(r.Context())
	t.beginAttempt()
	t.tokens.Store(tokensOf(r.Header))
	var a attempt
	trace := &httptrace.ClientTrace{GetConn: a.getConn, GotConn: a.gotConn}
	resp, err := tr.RoundTripper.RoundTrip(r.WithContext(httptrace.WithClientTrace(r.Context(), trace)))
	if err != nil {
		return nil, &attemptError{
			error:     err,
			maybeSent: a.connected.Load() || !tr.native && !a.asked.Load(),
			repeated:  a.repeated.Load(),
			earlier:   t.attempts.Load() > 1,
		}
	}
	return resp, nil
}

// attempt records how far a request came.
type attempt struct{ asked, connected, repeated atomic.Bool }

// getConn is called when the transport needs a connection, and again if it found that an
// idle one was dead. Then it has written nothing, or the server has reported that it will
// not process the request, or the request's method changes nothing.
func (a *attempt) getConn(string) {
	a.asked.Store(true)
	if a.connected.Swap(false) {
		a.repeated.Store(true)
	}
}

// gotConn is called when there is a connection: name resolution, dialing, the proxy and
// TLS are done, and the transport writes the request next.
func (a *attempt) gotConn(httptrace.GotConnInfo) { a.connected.Store(true) }
