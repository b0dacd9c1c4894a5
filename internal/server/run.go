package server

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"sync"
	"time"
)

// The bounds on a connection. A request with its body is small and arrives at once. A
// response may have to wait for a password to be hashed, which the authority bounds. The
// header and the whole request have the same deadline, so that only one is set.
const (
	requestTimeout     = 10 * time.Second
	responseTimeout    = 60 * time.Second
	idleTimeout        = 2 * time.Minute // longer than the usual keep-alive of proxies, so that they close first
	maxHeaderBytes     = 16 << 10        // net/http adds 4 KiB of slack
	maxStreams         = 100             // concurrent, on one HTTP/2 connection
	defaultConnections = 10_000
	defaultDrain       = 20 * time.Second
	adminConnections   = 64
	unixConnections    = 1000
	sweepEvery         = 5 * time.Second
)

// Run serves the API on api and on further, and the admin API on admin, and sweeps
// expired sessions. admin must be a Unix socket (ListenUnix makes one) or nil. The
// further listeners are Unix sockets, without TLS. Run closes all listeners. Call it once.
//
// When ctx ends, the readiness probe turns negative, the listeners close, and requests
// in progress have Config.DrainTimeout to finish. Those that do not finish are cut off
// and logged. Run then returns nil. It returns an error if a listener fails before.
func (s *Server) Run(ctx context.Context, api, admin net.Listener, further ...net.Listener) error {
	if admin != nil && admin.Addr().Network() != "unix" {
		err := fmt.Errorf("the admin API needs a Unix socket, not %s", admin.Addr())
		return errors.Join(err, api.Close(), admin.Close())
	}
	work, stop := context.WithCancel(ctx)
	defer stop()
	public := s.httpServer(s.front.API, s.conns)
	servers := []*http.Server{public}
	failed := make(chan error, 2+len(further))
	var running, watching sync.WaitGroup
	watch, rest := context.WithCancel(context.WithoutCancel(ctx)) // until the last connection is closed
	defer func() { rest(); watching.Wait() }()
	watching.Go(func() { s.conns.watch(watch) })
	running.Go(func() { s.sweep(work) })
	writing, written := context.WithCancel(context.WithoutCancel(ctx)) // until the last request has ended
	var auditing sync.WaitGroup
	defer func() { written(); auditing.Wait() }()
	auditing.Go(func() { s.audit.run(writing) })
	running.Go(func() {
		listener := s.conns.listen(api, s.tls != nil)
		if s.tls != nil {
			public.TLSConfig = s.tls.Clone()
			// Without http/1.0, a client that offers nothing else would be refused.
			public.TLSConfig.NextProtos = []string{"h2", "http/1.1", "http/1.0"}
			failed <- public.ServeTLS(listener, "", "")
			return
		}
		failed <- public.Serve(listener)
	})
	// The sockets have connections of their own, so that a flood over TCP leaves them alone.
	watching.Go(func() { s.sockets.watch(watch) })
	for _, listener := range further {
		server := s.httpServer(s.front.API, s.sockets)
		servers = append(servers, server)
		running.Go(func() { failed <- server.Serve(s.sockets.listen(listener, false)) })
	}
	if admin != nil {
		conns := newConnections(adminConnections, 0, nil)
		server := s.httpServer(forOperators(s.admin), conns)
		server.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
			return withPeer(withConn(ctx, c), c)
		}
		servers = append(servers, server)
		watching.Go(func() { conns.watch(watch) })
		running.Go(func() { failed <- server.Serve(conns.listen(admin, false)) })
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
		err = fmt.Errorf("serve: %w", err)
	}
	s.draining.Store(true)
	stop()
	s.shutDown(servers)
	running.Wait()
	return err
}

// httpServer returns an http.Server for these connections, with every bound set.
func (s *Server) httpServer(handler http.Handler, conns *connections) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: requestTimeout,
		ReadTimeout:       requestTimeout,
		WriteTimeout:      responseTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: maxStreams},
		ConnContext:       withConn,
		ConnState:         conns.follow,
		ErrorLog:          log.New(&errorLog{log: s.log}, "", 0),
	}
}

// shutDown drains the servers together, and cuts off the requests that do not finish in
// time.
func (s *Server) shutDown(servers []*http.Server) {
	ctx, cancel := context.WithTimeout(context.Background(), s.drain)
	defer cancel()
	s.log.Info("stopping: new connections are refused, and requests in progress may finish; a second signal stops at once",
		"atMost", s.drain.String(), "connections", s.conns.count())
	var draining sync.WaitGroup
	for _, server := range servers {
		draining.Go(func() {
			if err := server.Shutdown(ctx); err != nil {
				s.log.Warn("requests did not finish in time and were cut off", "after", s.drain, "error", err)
				_ = server.Close() // an error means that a connection is closed already
			}
		})
	}
	draining.Wait()
}

// sweep removes expired sessions every sweepEvery until ctx ends.
func (s *Server) sweep(ctx context.Context) {
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		err := s.front.Sweep(ctx)
		if ctx.Err() != nil {
			return
		}
		if failed := err != nil; s.failures.sweep.Swap(failed) && !failed {
			s.log.Info("sweeping works again; expired sessions are removed")
		}
		if err != nil {
			s.log.Warn("sweeping failed; expired sessions are refused, but not removed; it is tried again soon", "error", err)
		}
	}
}
