// Package server speaks the session API over HTTP: New makes a Server out of an
// authority, Server.Run serves it until its context ends, and Server.Handler is
// the same without the listening.
//
// What it adds to the rules of package authority is the wire: which request is
// well formed, which error becomes which answer (refusal.go holds the one
// table), and how much of a caller's time, bytes and connections are borne
// (run.go). It keeps no state of its own.
//
// The session check, /latchkey/v1/verify, stands in front of every request to
// somebody's service. verify.go is written for speed; the rest is not.
package server

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/wire"
)

// Config is what a Server is made of.
type Config struct {
	Authority *authority.Authority // may be nil where there is a Front
	// Store names the database, for the admin API.
	Store wire.AdminStore
	// Ready tells whether the stores answer, for the readiness probe; it is
	// given two seconds. nil: they always do.
	Ready func(context.Context) error
	// Notice returns what the readiness probe says beside that the server is ready;
	// "" for nothing. It is given what is left of the two seconds. nil: nothing.
	Notice func(context.Context) string
	// WriteFailure returns why the stores cannot be written at this moment, although
	// they answer, or nil. It is shown by the readiness probe, which stays positive
	// because session checks go on, and in the metrics. nil: it is not known.
	WriteFailure func() error
	// TLS makes Run speak TLS, version 1.2 or later, on the API listener.
	// CertificateFiles makes one that follows its files, SelfSigned a
	// certificate for development. nil: plain HTTP.
	TLS *tls.Config
	Log *slog.Logger // nil: slog.Default()
	// Front stands in place of what Run would serve by itself; see there. The
	// zero value: nothing does.
	Front Front
	// Forward gets the requests under /api/ that are none of the session API's,
	// once both of their tokens are found good. nil: there are no such resources.
	// If it refuses a request and sends nothing on, it calls the method Refused of
	// the ResponseWriter before it responds.
	Forward http.Handler
	// HostNamed returns the name of the further host of the upstream that the Host
	// header of a request is; "" for none. Such a request counts as one to
	// wire.PathHosts, that name and its path, unless it is for an operation of the
	// API. nil: there are none.
	HostNamed func(host string) string
	// TrustLocal, unless empty, is the user as whom requests to Forward run that
	// carry no credentials and come over a Unix socket, or over TCP from this machine
	// with the header Latchkey-Local: NAME; see isTrusted.
	TrustLocal string
	// TrustedProxies are believed what they say in X-Forwarded-For, for the audit
	// trail and the log, with or without ports, brackets and quotes.
	TrustedProxies []netip.Prefix
	// Collectors add to the metrics.
	Collectors     []prometheus.Collector
	Version        string        // shown in the metrics
	MaxConnections int           // open at once; for more, those without a request are closed, or they wait; 0: 10,000
	DrainTimeout   time.Duration // what requests under way at the end are given; 0: 20 seconds
}

// Front is what a simulation puts on the listeners of Run in place of the API and
// the admin API, and what it does every few seconds in place of sweeping. All
// three are set, or none.
type Front struct {
	API, Admin http.Handler
	Sweep      func(context.Context) error
}

// Server serves the API. It is safe for concurrent use.
type Server struct {
	authority *authority.Authority
	ready     func(context.Context) error
	notice    func(context.Context) string
	trouble   trouble
	tls       *tls.Config
	log       *slog.Logger
	drain     time.Duration
	front     Front
	forward   http.Handler
	hostNamed func(string) string
	local     string
	proxies   []netip.Prefix
	trail     *trail
	conns     *connections
	metrics   *metrics
	draining  atomic.Bool
	// complained is when an X-Forwarded-For was last complained of, in Unix nanoseconds.
	complained atomic.Int64
}

// New returns a Server.
func New(config Config) *Server {
	s := &Server{
		authority: config.Authority,
		ready:     config.Ready,
		notice:    config.Notice,
		trouble:   trouble{writes: config.WriteFailure},
		tls:       config.TLS,
		log:       config.Log,
		drain:     config.DrainTimeout,
		front:     config.Front,
		forward:   config.Forward,
		hostNamed: config.HostNamed,
		local:     config.TrustLocal,
		proxies:   unmapped(config.TrustedProxies),
	}
	if s.ready == nil {
		s.ready = func(context.Context) error { return nil }
	}
	if s.log == nil {
		s.log = slog.Default()
	}
	if s.drain <= 0 {
		s.drain = defaultDrain
	}
	if config.MaxConnections <= 0 {
		config.MaxConnections = defaultConnections
	}
	if s.front.API == nil {
		s.front = Front{API: s.Handler(), Admin: AdminHandler(s.authority, config.Store, s.log), Sweep: s.authority.Sweep}
	}
	s.trail = newTrail(s.authority, s.log)
	s.conns = newConnections(config.MaxConnections)
	s.metrics = newMetrics(s, config.Version, config.Collectors)
	return s
}

// Handler returns the API as a handler.
func (s *Server) Handler() http.Handler { return http.HandlerFunc(s.serve) }

// Guard returns a handler that hands a request on to next once both of its
// tokens are found good, which is a use of the session, and refuses it as an
// operation of the API would otherwise.
func (s *Server) Guard(next func(http.ResponseWriter, *http.Request, authority.Session)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		session, _, err := s.check(r)
		if err != nil {
			s.refuse(w, r, "guarded", refusalOf(err))
			return
		}
		next(w, r, session)
	})
}

// route is how a path is served: as an operation of the API or as a page.
type route struct {
	name      string   // of the operation, in logs and metrics
	methods   []string // that it answers
	operation operation
	page      func(*Server, http.ResponseWriter, *http.Request)
}

// routes is everything there is beside the session check.
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
	case r.URL.Path == wire.PathVerify, strings.HasPrefix(r.URL.Path, verifyPrefix): // Envoy appends the path it asks for
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
	case s.forward != nil && (strings.HasPrefix(r.URL.Path, wire.PathAPI) || strings.HasPrefix(r.URL.Path, wire.PathHosts)):
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

const verifyPrefix = wire.PathVerify + "/"

// maxHeaderFields bounds the fields of a request's header. Their bytes are
// bounded by the http.Server.
const maxHeaderFields = 100

func tooManyFields(header http.Header) bool {
	n := 0
	for _, values := range header {
		n += len(values)
	}
	return n > maxHeaderFields
}
