package gateway

import (
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/internal/wire"
	"github.com/latchkey/latchkey/keeper"
)

// httpError is the response to the caller if there is none of the upstream.
type httpError struct {
	status     int
	body       []byte
	retryAfter int // seconds; 0 for no Retry-After, because the caller should not repeat the request automatically
}

func newError(status int, code, description string, retryAfter int) *httpError {
	message := http.StatusText(status)
	if status == wire.StatusCallerLeft {
		message = "Client Closed Request"
	}
	body, _ := wire.Marshal(wire.NewFault(code, message, description))
	return &httpError{status: status, body: body, retryAfter: retryAfter}
}

var (
	errTokenRefused   = errors.New("the upstream refused the gateway's token")
	errRequestRefused = errors.New("the upstream refused the gateway's token for this request only")
	errProxyLogin     = errors.New("a proxy in front of the upstream requires a login")
	errSwitched       = errors.New("the upstream switched to another protocol")
)

// Errors of requests that were not forwarded because of what they are.
var (
	notFound = newError(http.StatusNotFound, wire.FaultNotFound,
		"No resource of the API has this path.", 0)
	pathRefused = newError(http.StatusBadRequest, wire.FaultBadRequest,
		"The path is ambiguous: it has empty or dot segments, a backslash, a semicolon, an encoded separator, "+
			"invisible characters, or characters that are not in Unicode normalization form NFKC. "+
			"The request was not forwarded.", 0)
	queryRefused = newError(http.StatusBadRequest, wire.FaultBadRequest,
		"The query has a space in it. The request was not forwarded. Write the space as %20 or +.", 0)
	methodRefused = newError(http.StatusMethodNotAllowed, wire.FaultMethod,
		"The gateway does not forward this method.", 0)
	upgradeRefused = newError(http.StatusBadRequest, wire.FaultBadRequest,
		"The gateway does not support connection upgrades, such as WebSocket or h2c. The request was not forwarded. "+
			"Set a client that offers h2c over http://, as Java's HttpClient does by default, to HTTP/1.1, "+
			"or use https://.", 0)
	bodyIncomplete = newError(http.StatusBadRequest, wire.FaultBadRequest,
		"The body of the request is incomplete. The request was not forwarded.", 0)
	bodyLate = newError(http.StatusRequestTimeout, wire.FaultLate,
		"The body of the request arrived too slowly. The request was not forwarded.", 0)
)

// Errors of requests that were forwarded, or could not be.
var (
	latched = newError(http.StatusServiceUnavailable, wire.FaultLatched,
		"The gateway has stopped logging in to the upstream, so that the account is not locked. "+
			"The request was not executed. For the operator: latchkey guard status shows why; "+
			"latchkey guard reset permits logins again.", 60)
	noSession = newError(http.StatusServiceUnavailable, wire.FaultUnavailable,
		"The gateway has no session with the upstream now. The request was not executed. "+
			"Send it again after the time in Retry-After.", 5)
	tokenRefused = newError(http.StatusServiceUnavailable, wire.FaultUnavailable,
		"The upstream refused the gateway's session, and the request could not be repeated at once: "+
			"its body was too long to be kept, or the next login has to wait. The request was not executed. "+
			"Send it again after the time in Retry-After.", 1)
	requestRefused = newError(http.StatusBadGateway, wire.FaultBadGateway,
		"The upstream refuses the gateway's session or access token for this request, and accepts it for others. "+
			"The request was not executed. Sending it again does not help. "+
			"Ask the operator whether the upstream account may use this resource.", 0)
	unreachable = newError(http.StatusBadGateway, wire.FaultBadGateway,
		"The upstream cannot be reached. The request was not forwarded.", 5)
	unreachableRepeat = newError(http.StatusBadGateway, wire.FaultBadGateway,
		"The upstream cannot be reached. Nothing that could have changed anything was forwarded.", 5)
	unreachableAfterRefusal = newError(http.StatusBadGateway, wire.FaultBadGateway,
		"The upstream refused the gateway's session, and could not be reached when the request was repeated with a new one. "+
			"The request was not executed.", 5)
	connectionLost = newError(http.StatusBadGateway, wire.FaultBadGateway,
		"The connection to the upstream broke before its response. The request may have been executed or not.", 0)
	timedOut = newError(http.StatusGatewayTimeout, wire.FaultTimeout,
		"The upstream did not respond in time. The request may have been executed or not.", 0)
	bodyBroken = newError(http.StatusBadRequest, wire.FaultBadRequest,
		"The body of the request is incomplete. Part of it was forwarded, so the request may have been executed or not.", 0)
	bodySlow = newError(http.StatusRequestTimeout, wire.FaultLate,
		"The body of the request arrived too slowly. Part of it was forwarded, "+
			"so the request may have been executed or not.", 0)
	callerLeft = newError(wire.StatusCallerLeft, wire.FaultCallerLeft,
		"The caller disconnected before the upstream's response. "+
			"If the request was forwarded by then, it may have been executed or not.", 0)
	proxyLogin = newError(http.StatusBadGateway, wire.FaultBadGateway,
		"A proxy between the gateway and the upstream requires a login (status 407). The request was not executed. "+
			"For the operator: correct the user and the password of the proxy in HTTPS_PROXY.", 0)
	switched = newError(http.StatusBadGateway, wire.FaultBadGateway,
		"The upstream responded in another protocol, which the gateway does not support.", 0)
)

// markRefused reports to w, for the audit trail, that the request was refused and not
// forwarded.
func markRefused(w http.ResponseWriter) {
	if to, ok := w.(interface{ Refused() }); ok {
		to.Refused()
	}
}

func (e *httpError) write(w http.ResponseWriter) {
	header := w.Header()
	header.Set("Content-Type", wire.MediaTypeJSON)
	header.Set("Cache-Control", "no-store")
	if e.retryAfter > 0 {
		header.Set(wire.HeaderRetryAfter, strconv.Itoa(e.retryAfter))
	}
	w.WriteHeader(e.status)
	_, _ = w.Write(e.body) //nolint:gosec // fixed JSON; an error means that the caller has disconnected
}

// withRetryAfter returns e with wait as its Retry-After. It returns e unchanged if wait
// is not positive.
func (e *httpError) withRetryAfter(wait time.Duration) *httpError {
	if wait <= 0 {
		return e
	}
	changed := *e
	changed.retryAfter = int((wait + time.Second - 1) / time.Second)
	return &changed
}

// fail responds if the upstream did not, or if the request could not be read.
func (g *Gateway) fail(w http.ResponseWriter, r *http.Request, err error) {
	t := transferOf(r.Context())
	e, level := t.httpError(err), slog.LevelWarn
	if e.status < http.StatusInternalServerError {
		level = slog.LevelDebug // the caller's fault
	}
	if e == bodyIncomplete || e == bodyLate {
		markRefused(t.ResponseWriter)
	}
	g.log.LogAttrs(r.Context(), level, "request not completed", slog.Int("status", e.status),
		slog.String("method", r.Method), slog.String("path", r.URL.Path), slog.String("error", err.Error()))
	if e == noSession || e == tokenRefused {
		e = e.withRetryAfter(g.retryAfter(err))
	}
	e.write(w)
}

// retryAfter returns how long the keeper waits before its next login; 0 if that is not
// known.
func (g *Gateway) retryAfter(err error) time.Duration {
	waiting := g.keeper.Waiting()
	if !errors.As(err, &waiting) && waiting == nil {
		return 0
	}
	return waiting.Wait
}

// httpError returns the response to an error of the transfer.
func (t *transfer) httpError(err error) *httpError {
	bodyErr := t.bodyErr.Load()
	sent, late := t.attempts.Load() > 0, bodyErr != nil && errors.Is(*bodyErr, os.ErrDeadlineExceeded)
	switch {
	case t.callerGone():
		return callerLeft
	case late && sent:
		return bodySlow
	case late:
		return bodyLate
	case bodyErr != nil && sent:
		return bodyBroken
	case bodyErr != nil:
		return bodyIncomplete
	}
	return httpErrorOf(err)
}

// httpErrorOf returns the response to an error of the transport.
func httpErrorOf(err error) *httpError {
	var stopped *keeper.LatchedError
	var attempt *attemptError
	var network net.Error
	switch {
	case errors.As(err, &stopped):
		return latched
	case errors.Is(err, errTokenRefused):
		return tokenRefused
	case errors.Is(err, errRequestRefused):
		return requestRefused
	case errors.Is(err, errProxyLogin):
		return proxyLogin
	case errors.Is(err, errSwitched):
		return switched
	case errors.Is(err, latchkey.ErrNotSent):
		return noSession
	case errors.As(err, &attempt) && !attempt.maybeSent && attempt.earlier:
		return unreachableAfterRefusal
	case errors.As(err, &attempt) && !attempt.maybeSent && attempt.repeated:
		return unreachableRepeat
	case errors.As(err, &attempt) && !attempt.maybeSent:
		return unreachable
	case errors.Is(err, errStalled), errors.As(err, &network) && network.Timeout():
		return timedOut
	}
	return connectionLost
}
