package gateway

import (
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/latchkey/latchkey/internal/wire"
	"github.com/latchkey/latchkey/keeper"
)

// failure is what a caller is told if there is no response of the upstream.
type failure struct {
	status int
	body   []byte
	retry  int // seconds; 0: the caller should not try again by itself
}

func newFailure(status int, code, message, description string, retry int) *failure {
	body, _ := wire.Marshal(wire.FaultBody{Fault: wire.Fault{Code: code, Message: message, Description: description}})
	return &failure{status: status, body: body, retry: retry}
}

var (
	errTokenRefused   = errors.New("the upstream refused the gateway's token")
	errRequestRefused = errors.New("the upstream refused the gateway's token for this request only")
	errProxyLogin     = errors.New("a proxy on the way to the upstream wants a login")
	errSwitched       = errors.New("the upstream switched to another protocol")
)

// What is not carried.
var (
	notFound       = newFailure(http.StatusNotFound, wire.FaultNotFound, "Not Found", "No resource of the API has this path.", 0)
	pathRefused    = newFailure(http.StatusBadRequest, wire.FaultBadRequest, "Bad Request", "The path is ambiguous: it has empty or dot segments, a backslash, a semicolon, an encoded separator, invisible characters, or characters that are not in Unicode normalization form NFKC. Nothing was sent on.", 0)
	queryRefused   = newFailure(http.StatusBadRequest, wire.FaultBadRequest, "Bad Request", "The query has a blank in it, which is written as %20 or +. Nothing was sent on.", 0)
	methodRefused  = newFailure(http.StatusMethodNotAllowed, wire.FaultMethod, "Method Not Allowed", "The gateway does not carry this method.", 0)
	upgradeRefused = newFailure(http.StatusBadRequest, wire.FaultBadRequest, "Bad Request", "The gateway does not carry connection upgrades, such as WebSocket or h2c. Nothing was sent on. A client that offers h2c over http://, as Java's HttpClient does unless told otherwise, must be set to HTTP/1.1 or use https://.", 0)
	unreadableBody = newFailure(http.StatusBadRequest, wire.FaultBadRequest, "Bad Request", "The body of the request broke off. Nothing was sent on.", 0)
	lateBody       = newFailure(http.StatusRequestTimeout, wire.FaultLate, "Request Timeout", "The body of the request came too slowly. Nothing was sent on.", 0)
)

// What became of requests that were carried, or could not be.
var (
	latched    = newFailure(http.StatusServiceUnavailable, wire.FaultLatched, "Service Unavailable", "The gateway does not log in to the upstream until an operator has looked, so that the account is not locked. The request was not executed. For the operator: latchkey guard status tells why; latchkey guard reset lets logins be made again.", 60)
	noTokens   = newFailure(http.StatusServiceUnavailable, wire.FaultUnavailable, "Service Unavailable", "The gateway has no session with the upstream right now. The request was not executed; send it again after the time in Retry-After.", 5)
	again      = newFailure(http.StatusServiceUnavailable, wire.FaultUnavailable, "Service Unavailable", "The upstream refused the gateway's session before it looked at the request, which could not be sent again at once: its body was too long to be kept, or the next login has to wait. It was not executed; send it again after the time in Retry-After.", 1)
	onlyThis   = newFailure(http.StatusBadGateway, wire.FaultBadGateway, "Bad Gateway", "The upstream refuses the gateway's session or access token for this request, and accepts it for others. The request was not executed. Sending it again does not help; ask the operator whether the upstream account may use this resource.", 0)
	away       = newFailure(http.StatusBadGateway, wire.FaultBadGateway, "Bad Gateway", "The upstream cannot be reached. Nothing was sent on.", 5)
	awayNow    = newFailure(http.StatusBadGateway, wire.FaultBadGateway, "Bad Gateway", "The upstream cannot be reached. Nothing was sent on that could have changed anything.", 5)
	awayAgain  = newFailure(http.StatusBadGateway, wire.FaultBadGateway, "Bad Gateway", "The upstream refused the gateway's session before it looked at the request, and could not be reached any more with another one. The request was not executed.", 5)
	lost       = newFailure(http.StatusBadGateway, wire.FaultBadGateway, "Bad Gateway", "The connection to the upstream broke before it answered. The request may have been executed or not.", 0)
	tooLate    = newFailure(http.StatusGatewayTimeout, wire.FaultTimeout, "Gateway Timeout", "The upstream did not answer in time. The request may have been executed or not.", 0)
	brokenBody = newFailure(http.StatusBadRequest, wire.FaultBadRequest, "Bad Request", "The body of the request broke off. Part of it was sent on, so the request may have been executed or not.", 0)
	slowBody   = newFailure(http.StatusRequestTimeout, wire.FaultLate, "Request Timeout", "The body of the request came too slowly. Part of it was sent on, so the request may have been executed or not.", 0)
	callerLeft = newFailure(wire.StatusCallerLeft, wire.FaultCallerLeft, "Client Closed Request", "The caller left before the upstream's response. If the request was sent on by then, it may have been executed or not.", 0)
	proxyLogin = newFailure(http.StatusBadGateway, wire.FaultBadGateway, "Bad Gateway", "A proxy between the gateway and the upstream wants a login (status 407). The request was not executed. For the operator: correct the user and the password of the proxy in HTTPS_PROXY.", 0)
	switched   = newFailure(http.StatusBadGateway, wire.FaultBadGateway, "Bad Gateway", "The upstream answered in another protocol, which the gateway does not carry.", 0)
)

// markRefused tells whoever keeps the audit trail that the request was refused and
// nothing was sent on.
func markRefused(w http.ResponseWriter) {
	if to, ok := w.(interface{ Refused() }); ok {
		to.Refused()
	}
}

func (f *failure) write(w http.ResponseWriter) {
	header := w.Header()
	header.Set("Content-Type", wire.MediaTypeJSON)
	header.Set("Cache-Control", "no-store")
	if f.retry > 0 {
		header.Set(wire.HeaderRetryAfter, strconv.Itoa(f.retry))
	}
	w.WriteHeader(f.status)
	_, _ = w.Write(f.body) //nolint:gosec // fixed JSON; and a caller who left needs no response
}

// fail responds if the upstream did not, or if the request could not be read.
func (g *Gateway) fail(w http.ResponseWriter, r *http.Request, err error) {
	t := transferOf(r.Context())
	f, level := t.failure(err), slog.LevelWarn
	if f.status < http.StatusInternalServerError {
		level = slog.LevelDebug // the caller's own doing
	}
	if f == unreadableBody || f == lateBody {
		markRefused(t.ResponseWriter)
	}
	g.log.LogAttrs(r.Context(), level, "request not carried to its end", slog.Int("status", f.status),
		slog.String("method", r.Method), slog.String("path", r.URL.Path), slog.String("error", err.Error()))
	if f == noTokens || f == again {
		f = f.after(g.retryAfter(err))
	}
	f.write(w)
}

// failure returns what an error is to the caller.
func (t *transfer) failure(err error) *failure {
	broken := t.broken.Load()
	asked, late := t.attempts.Load() > 0, broken != nil && errors.Is(*broken, os.ErrDeadlineExceeded)
	switch {
	case t.left():
		return callerLeft
	case late && asked:
		return slowBody
	case late:
		return lateBody
	case broken != nil && asked:
		return brokenBody
	case broken != nil:
		return unreadableBody
	}
	return failureOf(err)
}

// failureOf returns what an error of the transport is to the caller.
func failureOf(err error) *failure {
	var stopped *keeper.LatchedError
	var tried *attemptError
	var network net.Error
	switch {
	case errors.As(err, &stopped):
		return latched
	case errors.Is(err, errTokenRefused):
		return again
	case errors.Is(err, errRequestRefused):
		return onlyThis
	case errors.Is(err, errProxyLogin):
		return proxyLogin
	case errors.Is(err, errSwitched):
		return switched
	case keeper.NotSent(err):
		return noTokens
	case errors.As(err, &tried) && !tried.maybeSent && tried.earlier:
		return awayAgain
	case errors.As(err, &tried) && !tried.maybeSent && tried.repeated:
		return awayNow
	case errors.As(err, &tried) && !tried.maybeSent:
		return away
	case errors.Is(err, errStoodStill), errors.As(err, &network) && network.Timeout():
		return tooLate
	}
	return lost
}

// after returns f with another time after which the caller should try again, unless
// that is not known.
func (f *failure) after(wait time.Duration) *failure {
	if wait <= 0 {
		return f
	}
	changed := *f
	changed.retry = int((wait + time.Second - 1) / time.Second)
	return &changed
}

// retryAfter returns how long it is until the keeper does what it could not do now;
// 0 if that is not known.
func (g *Gateway) retryAfter(err error) time.Duration {
	waiting := g.keeper.Waiting()
	if !errors.As(err, &waiting) && waiting == nil {
		return 0
	}
	return waiting.Wait
}
