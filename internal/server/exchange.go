package server

import (
	"context"
	"crypto/rand"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/wire"
)

// operation answers a request: with a body of package wire, with nil for an
// empty one, or with an error that refusalOf knows.
type operation func(*Server, *exchange) (any, error)

// exchange is one request to an operation, and what is known of it so far.
type exchange struct {
	w      http.ResponseWriter
	r      *http.Request
	ctx    context.Context
	id     string
	client string // API key, once it is known
	// address is where it came from.
	address string
}

// operationTimeout bounds an operation that hashes no password; those that do
// are bounded by the authority.
const operationTimeout = 15 * time.Second

// operate runs an operation, sends what it answers, and counts and logs it.
func (s *Server) operate(w http.ResponseWriter, r *http.Request, route route) {
	start := time.Now()
	x := &exchange{w: w, r: r, ctx: r.Context(), id: requestID(r), address: s.address(r)}
	if !s.authority.Policy().StrikeOnAbort { // else a caller that closes its sending side has left
		var cancel context.CancelFunc
		x.ctx, cancel = untilLeft(r)
		defer cancel()
	}
	w.Header()[wire.HeaderRequestID] = []string{x.id}
	body, err := route.operation(s, x)
	status, code := http.StatusOK, "ok"
	if err != nil {
		f := refusalOf(err)
		status, code = f.status, f.code
		f.write(w, status)
	} else {
		w.Header()["Cache-Control"] = noStore
		if body != nil {
			w.Header()["Content-Type"] = jsonType
			_, _ = w.Write(encode(body)) // a caller who left needs no answer
		}
	}
	elapsed := time.Since(start)
	s.metrics.observe(route.name, code, elapsed)
	level := slog.LevelInfo
	attributes := []slog.Attr{
		slog.String("operation", route.name), slog.Int("status", status), slog.String("code", code),
		slog.String("client", x.client), slog.String("address", s.address(r)), slog.String("request", x.id),
		slog.Float64("ms", float64(elapsed.Microseconds())/1000),
	}
	if status >= http.StatusInternalServerError {
		level = slog.LevelWarn
		attributes = append(attributes, slog.Any("error", err))
	}
	s.log.LogAttrs(x.ctx, level, "request", attributes...)
}

// refuse answers what never got to an operation.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, operation string, f *refusal) {
	id := requestID(r)
	w.Header()[wire.HeaderRequestID] = []string{id}
	f.write(w, f.status)
	s.metrics.count(operation, f.code)
	if s.log.Enabled(r.Context(), slog.LevelDebug) {
		s.log.Debug("request refused", "operation", operation, "status", f.status, "code", f.code, "address", s.address(r), "request", id)
	}
}

// recover keeps the service up when a handler panics, and says so.
func (s *Server) recover(w http.ResponseWriter, r *http.Request) {
	problem := recover()
	if problem == nil {
		return
	}
	if problem == http.ErrAbortHandler { //nolint:errorlint // it is panicked with as it is
		panic(problem) // an answer that was begun is cut off, so that nobody takes it for a whole one
	}
	name := routes[r.URL.Path].name
	if name == "" {
		name = "unknown"
	}
	id := w.Header().Get(wire.HeaderRequestID)
	if id == "" {
		id = requestID(r)
	}
	s.log.Error("a request made the server panic; this is a defect, please report it",
		"operation", name, "request", id, "panic", problem, "stack", string(debug.Stack()))
	s.metrics.count(name, "panic")
	w.Header()["Connection"] = []string{"close"} // who knows what was written already
	w.Header()[wire.HeaderRequestID] = []string{id}
	internalError.write(w, internalError.status)
}

// bearer answers the client whose access token the request carries.
func (s *Server) bearer(ctx context.Context, header http.Header) (authority.Client, error) {
	values := header["Authorization"]
	if len(values) == 0 || len(values) == 1 && values[0] == "" {
		return authority.Client{}, noBearer
	}
	const scheme = len(wire.TokenTypeBearer)
	value := values[0]
	if len(values) > 1 || len(value) <= scheme || value[scheme] != ' ' || !strings.EqualFold(value[:scheme], wire.TokenTypeBearer) {
		return authority.Client{}, invalidBearer
	}
	return s.authority.Authenticate(ctx, strings.TrimLeft(value[scheme:], " "))
}

// sessionTokenKey is wire.HeaderSessionToken as http.Header spells it.
var sessionTokenKey = http.CanonicalHeaderKey(wire.HeaderSessionToken)

// sessionToken reads the session token of a request. Whether a session has it is
// for the authority to say.
func sessionToken(header http.Header) (authority.SessionToken, error) {
	values := header[sessionTokenKey]
	if len(values) == 0 || len(values) == 1 && values[0] == "" {
		return authority.SessionToken{}, tokenMissing
	}
	token, ok := authority.ParseSessionToken(values[0])
	if !ok || len(values) > 1 {
		return authority.SessionToken{}, tokenInvalid
	}
	return token, nil
}

// identify reads both tokens, the bearer first.
func (s *Server) identify(x *exchange) (authority.SessionToken, error) {
	client, err := s.bearer(x.ctx, x.r.Header)
	if err != nil {
		return authority.SessionToken{}, err
	}
	x.client = client.Key
	return sessionToken(x.r.Header)
}

func (x *exchange) origin() authority.Origin {
	return authority.Origin{Client: x.client, Address: x.address, RequestID: x.id}
}

// bound limits the time that the operation may take from here on.
func (x *exchange) bound() context.CancelFunc {
	ctx, cancel := context.WithTimeout(x.ctx, operationTimeout)
	x.ctx = ctx
	return cancel
}

// requestIDCharacters are those that a caller's request ID may be made of.
const requestIDCharacters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"

// requestID is the caller's request ID, if it is one that can stand in a log, or
// else a new one.
func requestID(r *http.Request) string {
	values := r.Header[wire.HeaderRequestID]
	if len(values) == 1 && len(values[0]) <= 64 && values[0] != "" && strings.Trim(values[0], requestIDCharacters) == "" {
		return values[0]
	}
	return rand.Text()
}
