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

// How much of a caller's time and how many bytes are borne. A request, with its
// body, is small and comes at once; an answer may have to wait for a password to
// be hashed, which the authority bounds. Having the same deadline for the header
// and for the whole request saves setting two.
const (
	requestTimeout     = 10 * time.Second
	answerTimeout      = 60 * time.Second
	idleTimeout        = 2 * time.Minute // longer than the usual keep-alive of proxies, so that they hang up first
	maxHeaderBytes     = 16 << 10        // net/http adds 4 KiB of slack
	maxStreams         = 100             // at once on one HTTP/2 connection
	defaultConnections = 10_000
	defaultDrain       = 20 * time.Second
	adminConnections   = 64
	sweepEvery         = 5 * time.Second
)

// Run serves the API on api and, unless it is nil, the admin API on admin, which
// has to be a Unix socket (ListenUnix makes one), and sweeps expired sessions.
// It closes both listeners. further ones, of Unix sockets, serve the API as well,
// without TLS.
//
// When ctx ends, the readiness probe turns negative, the listeners close, and
// requests under way are given Config.DrainTimeout; what is left then is cut off
// and logged. Run then returns nil; it returns an error if a listener fails
// before. Call it once.
func (s *Server) Run(ctx context.Context, api, admin net.Listener, further ...net.Listener) error {
	if admin != nil && admin.Addr().Network() != "unix" {
		return errors.Join(fmt.Errorf("the admin API is served on a Unix socket only, not on %s", admin.Addr()), api.Close(), admin.Close())
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
	var trailing sync.WaitGroup
	defer func() { written(); trailing.Wait() }()
	trailing.Go(func() { s.trail.run(writing) })
	running.Go(func() {
		listener := s.conns.listen(api, s.tls != nil)
		if s.tls != nil {
			public.TLSConfig = s.tls.Clone()
			// A client that offers HTTP/1.0 alone would otherwise be refused.
			public.TLSConfig.NextProtos = []string{"h2", "http/1.1", "http/1.0"}
			failed <- public.ServeTLS(listener, "", "")
			return
		}
		failed <- public.Serve(listener)
	})
	for _, listener := range further {
		running.Go(func() { failed <- public.Serve(s.conns.listen(listener, false)) })
	}
	if admin != nil {
		conns := newConnections(adminConnections)
		server := s.httpServer(s.front.Admin, conns)
		server.ConnContext = func(ctx context.Context, c net.Conn) context.Context { return WithPeer(withConn(ctx, c), c) }
		servers = append(servers, server)
		watching.Go(func() { conns.watch(watch) })
		running.Go(func() { failed <- server.Serve(conns.listen(admin, false)) })
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
		err = fmt.Errorf("the service stopped listening: %w", err)
	}
	s.draining.Store(true)
	stop()
	s.shutDown(servers)
	running.Wait()
	return err
}

// httpServer returns an http.Server with every bound set, for these connections.
func (s *Server) httpServer(handler http.Handler, conns *connections) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: requestTimeout,
		ReadTimeout:       requestTimeout,
		WriteTimeout:      answerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: maxStreams},
		ConnContext:       withConn,
		ConnState:         conns.follow,
		ErrorLog:          log.New(&connectionLog{log: s.log}, "", 0),
	}
}

// shutDown drains the servers together, and cuts off what does not come to its
// end in time.
func (s *Server) shutDown(servers []*http.Server) {
	ctx, cancel := context.WithTimeout(context.Background(), s.drain)
	defer cancel()
	s.log.Info("stopping: no connection is accepted any more, and requests under way are waited for; a second signal stops at once",
		"atMost", s.drain.String(), "connections", s.conns.count())
	var draining sync.WaitGroup
	for _, server := range servers {
		draining.Go(func() {
			if err := server.Shutdown(ctx); err != nil {
				s.log.Warn("requests did not come to an end in time and were cut off", "after", s.drain, "error", err)
				_ = server.Close() // what it could not close is gone already
			}
		})
	}
	draining.Wait()
}

// sweep reclaims what has expired, until ctx ends.
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
		if failed := err != nil; s.trouble.sweep.Swap(failed) && !failed {
			s.log.Info("expired sessions are swept again")
		}
		if err != nil {
			s.log.Warn("expired sessions could not be swept; it is tried again soon", "error", err)
		}
	}
}
