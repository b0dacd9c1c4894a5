package server

import (
	"context"
	"io"
	"net/http"
	"time"

	"github.com/latchkey/latchkey/api"
)

// readyTimeout is what the stores are given to say that they are there.
const readyTimeout = 2 * time.Second

// health says that the process lives. It asks nobody else, so that a store that
// is away does not get the process restarted.
func (s *Server) health(w http.ResponseWriter, _ *http.Request) { page(w, http.StatusOK, "ok\n") }

// readiness says whether requests should be sent here.
func (s *Server) readiness(w http.ResponseWriter, r *http.Request) {
	if s.draining.Load() {
		page(w, http.StatusServiceUnavailable, "shutting down\n")
		return
	}
	ctx, cancel := untilLeft(r)
	defer cancel()
	ctx, cancel = context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	if err := s.ready(ctx); err != nil {
		s.log.Warn("not ready: the store does not answer", "error", err)
		page(w, http.StatusServiceUnavailable, "the store does not answer\n")
		return
	}
	text := "ready\n"
	if s.notice != nil {
		text += s.notice(ctx)
	}
	page(w, http.StatusOK, text)
}

func page(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header()["Cache-Control"] = noStore
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text) // a prober who left needs no answer
}

// openAPI shows the contract.
func (s *Server) openAPI(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/yaml")
	_, _ = w.Write(api.OpenAPI) // a reader who left needs no answer
}
