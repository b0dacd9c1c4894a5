package server

import (
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"

	"github.com/latchkey/latchkey/internal/wire"
)

// route is an endpoint: an operation of the API or a page.
type route struct {
	name      string   // of the operation, in logs and metrics
	methods   []string // that it accepts
	operation operation
	page      func(*Server, http.ResponseWriter, *http.Request)
}

// routes holds every endpoint except the session check.
var routes = map[string]route{
	wire.PathToken:              tokenRoute,
	wire.PathTokenAlias:         tokenRoute,
	wire.PathRevoke:             {name: "revoke", methods: post, operation: (*Server).revoke},
	wire.PathLogIn:              logInRoute,
	wire.PathLogInAlias:         logInRoute,
	wire.PathLogOut:             logOutRoute,
	wire.PathLogOutAlias:        logOutRoute,
	wire.PathResetPassword:      resetRoute,
	wire.PathResetPasswordAlias: resetRoute,
	wire.PathSession:            {name: "session", methods: get, operation: (*Server).session},
	wire.PathOpenAPI:            {name: "openapi", methods: get, page: (*Server).openAPI},
	wire.PathHealth:             {name: "health", methods: get, page: (*Server).health},
	wire.PathReady:              {name: "ready", methods: get, page: (*Server).readiness},
	wire.PathMetrics:            {name: "metrics", methods: get, page: (*Server).showMetrics},
}

// The operations that have more than one path.
var (
	tokenRoute  = route{name: "token", methods: post, operation: (*Server).token}
	logInRoute  = route{name: "login", methods: post, operation: (*Server).logIn}
	logOutRoute = route{name: "logout", methods: post, operation: (*Server).logOut}
	resetRoute  = route{name: "reset", methods: put, operation: (*Server).resetPassword}
)

var (
	get  = []string{http.MethodGet, http.MethodHead}
	post = []string{http.MethodPost}
	put  = []string{http.MethodPut}
)

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	defer s.recover(w, r)
	switch {
	case tooManyFields(r.Header):
		s.refuse(w, r, "unknown", tooManyHeaders)
	case r.URL.Path == wire.PathVerify, strings.HasPrefix(r.URL.Path, verifyPrefix): // Envoy appends the requested path
		s.verify(w, r)
	default:
		s.dispatch(w, r)
	}
}

func (s *Server) dispatch(w http.ResponseWriter, r *http.Request) {
	route, ok := routes[r.URL.Path]
	if !ok && s.forward != nil {
		r = s.mounted(r)
	}
	switch {
	case ok:
	case s.forward != nil &&
		(strings.HasPrefix(r.URL.Path, wire.PathAPI) || strings.HasPrefix(r.URL.Path, wire.PathHosts)):
		s.forwarded(w, r)
		return
	default:
		s.refuse(w, r, "unknown", notFound)
		return
	}
	for _, method := range route.methods {
		if method != r.Method {
			continue
		}
		if route.operation != nil {
			s.operate(w, r, route)
		} else {
			route.page(s, w, r)
		}
		return
	}
	w.Header()["Allow"] = route.methods
	s.refuse(w, r, route.name, methodNotAllowed)
}

// maxHeaderFields bounds the number of fields in a request's header. The http.Server
// bounds their bytes.
const maxHeaderFields = 100

func tooManyFields(header http.Header) bool {
	n := 0
	for _, values := range header {
		n += len(values)
	}
	return n > maxHeaderFields
}

// refuse responds to a request that reaches no operation.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, operation string, e *apiError) {
	id := requestID(r)
	w.Header()[wire.HeaderRequestID] = []string{id}
	e.write(w, e.status)
	s.metrics.count(operation, e.code)
	if s.log.Enabled(r.Context(), slog.LevelDebug) {
		s.log.Debug("request refused",
			"operation", operation, "status", e.status, "code", e.code, "address", s.address(r), "request", id)
	}
}

// recover logs a panic of a handler and responds with an internal error.
func (s *Server) recover(w http.ResponseWriter, r *http.Request) {
	problem := recover()
	if problem == nil {
		return
	}
	if problem == http.ErrAbortHandler { //nolint:errorlint // the panic's value is never wrapped
		panic(problem) // it cuts off a response that has begun, so that no client takes it for a complete one
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
	w.Header()["Connection"] = []string{"close"} // part of a response may have been written
	w.Header()[wire.HeaderRequestID] = []string{id}
	internalError.write(w, internalError.status)
}
