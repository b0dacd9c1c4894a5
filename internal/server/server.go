// Package server serves the session API over HTTP: New makes a Server from an authority,
// Server.Run serves it until its context ends, and Server.Handler returns the handler
// alone.
//
// It adds HTTP to the rules of package authority: which request is well formed, which
// error becomes which response (apierror.go), which tokens a request carries (auth.go),
// and how much time, how many bytes and how many connections a caller may use (run.go).
// It keeps no state of its own.
//
// The session check, /latchkey/v1/verify, precedes every request to a protected service.
// verify.go is written for speed, the rest for readability.
package server

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/latchkey/latchkey/internal/authority"
)

// Config configures a Server.
type Config struct {
	Authority *authority.Authority // may be nil if there is a Front
	// Admin is the administration API, which Run serves on the admin socket alone. It
	// receives requests whose RemoteAddr names the operator. nil: there is none.
	Admin http.Handler
	// Ready returns an error if the stores do not respond, for the readiness probe. Its
	// context ends after two seconds. nil: they always respond.
	Ready func(context.Context) error
	// Notice returns text that the readiness probe adds when the server is ready; "" for
	// none. Its context ends with that of Ready. nil: none.
	Notice func(context.Context) string
	// WriteFailure returns why the stores cannot be written now although they respond,
	// or nil. The metrics and the readiness probe show it. The probe stays positive,
	// because session checks continue. nil: not known.
	WriteFailure func() error
	// TLS makes Run use TLS, version 1.2 or later, on the API listener. CertificateFiles
	// returns one that reloads its files, SelfSigned a certificate for development.
	// nil: plain HTTP.
	TLS *tls.Config
	Log *slog.Logger // nil: slog.Default()
	// Front replaces what Run serves. The zero value replaces nothing.
	Front Front
	// Forward receives the requests under /api/ that are not operations of the session
	// API, after both of their tokens were found valid. nil: there are no such resources.
	// A Forward that refuses a request without forwarding it calls the method Refused of
	// the ResponseWriter before it responds.
	Forward http.Handler
	// HostNamed returns the name of the upstream's further host that a request's Host
	// header names; "" for none. Such a request is treated as one to wire.PathHosts plus
	// that name and its path, unless it is for an operation of the API. nil: there are
	// no further hosts.
	HostNamed func(host string) string
	// TrustLocal, unless empty, is the user as whom requests to Forward run that carry no
	// credentials and come over a Unix socket, or over TCP from this machine with the
	// header Latchkey-Local: NAME. See isTrusted.
	TrustLocal string
	// TrustedProxies are the proxies whose X-Forwarded-For is trusted, for the audit trail
	// and the log.
	TrustedProxies []netip.Prefix
	// Collectors are added to the metrics.
	Collectors []prometheus.Collector
	Version    string // shown in the metrics
	// MaxConnections bounds the open connections. Beyond it, idle ones are closed, or new
	// ones wait. 0: 10,000.
	MaxConnections int
	// MaxConnectionsPerAddress bounds the connections of one address, or one IPv6 network of
	// 64 bits, that is not one of TrustedProxies. 0: a quarter of MaxConnections.
	MaxConnectionsPerAddress int
	// DrainTimeout is how long requests in progress may take when the server stops.
	// 0: 20 seconds.
	DrainTimeout time.Duration
}

// Front replaces what Run serves and does, for a simulation. Either all of its fields
// are set or none is.
type Front struct {
	API   http.Handler
	Sweep func(context.Context) error // called every few seconds
}

// Server serves the API. It is safe for concurrent use.
type Server struct {
	authority *authority.Authority
	ready     func(context.Context) error
	notice    func(context.Context) string
	failures  storeFailures
	tls       *tls.Config
	log       *slog.Logger
	drain     time.Duration
	front     Front
	admin     http.Handler
	forward   http.Handler
	hostNamed func(string) string
	local     string
	proxies   []netip.Prefix
	audit     *auditQueue
	conns     *connections // over TCP
	sockets   *connections // over Unix sockets
	metrics   *metrics
	draining  atomic.Bool
	paused    chan struct{} // holds a token for each refusal that waits
	// forwardedForLogged is when an X-Forwarded-For that cannot be parsed was last logged,
	// in Unix nanoseconds.
	forwardedForLogged atomic.Int64
}

// New returns a Server.
func New(config Config) *Server {
	s := &Server{
		authority: config.Authority,
		ready:     config.Ready,
		notice:    config.Notice,
		failures:  storeFailures{write: config.WriteFailure},
		tls:       config.TLS,
		log:       config.Log,
		drain:     config.DrainTimeout,
		front:     config.Front,
		admin:     config.Admin,
		forward:   config.Forward,
		hostNamed: config.HostNamed,
		local:     config.TrustLocal,
		proxies:   unmapped(config.TrustedProxies),
		paused:    make(chan struct{}, maxPaused),
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
	most, perAddress := s.connectionLimits(config.MaxConnections, config.MaxConnectionsPerAddress)
	if s.admin == nil {
		s.admin = http.NotFoundHandler()
	}
	if s.front.API == nil {
		s.front = Front{API: s.Handler(), Sweep: s.authority.Sweep}
	}
	s.audit = newAuditQueue(s.authority, s.log)
	s.conns = newConnections(most, perAddress, s.isProxy)
	s.sockets = newConnections(unixConnections, 0, nil)
	s.metrics = newMetrics(s, config.Version, config.Collectors)
	return s
}

// filesForOthers is how many open files are left to databases, Unix sockets, logs and the
// upstream.
const filesForOthers = 2000

// connectionLimits resolves the defaults of the bounds on connections. A process that may not
// have enough files open would accept no connection at all at its limit, so then the bound is
// lower.
func (s *Server) connectionLimits(most, perAddress int) (int, int) {
	if most <= 0 {
		most = defaultConnections
	}
	if files := openFiles(); files > 0 && most > max(files-filesForOthers, files/2) {
		most = max(files-filesForOthers, files/2)
		s.log.Warn("fewer connections are accepted at once, because the process may not open more files; "+
			"raise the limit (ulimit -n, LimitNOFILE)", "connections", most, "openFiles", files)
	}
	if perAddress <= 0 {
		perAddress = max(1, most/4)
	}
	return most, perAddress
}

// Handler returns the API as a handler.
func (s *Server) Handler() http.Handler { return http.HandlerFunc(s.serve) }
