package server

import (
	"context"
	"io"
	"net/http"
	"time"

	"github.com/latchkey/latchkey/api"
)

// readyTimeout is how long the readiness probe waits for the stores.
const readyTimeout = 2 * time.Second

// health reports that the process is alive. It depends on nothing else, so that an
// unavailable store does not get the process restarted.
func (s *Server) health(w http.ResponseWriter, _ *http.Request) { page(w, http.StatusOK, "ok\n") }

// readiness reports whether this server should receive requests.
func (s *Server) readiness(w http.ResponseWriter, r *http.Request) {
	if s.draining.Load() {
		page(w, http.StatusServiceUnavailable, "shutting down\n")
		return
	}
	ctx, cancel := untilDisconnect(r)
	defer cancel()
	ctx, cancel = context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	if err := s.ready(ctx); err != nil {
		s.log.Warn("not ready: the database does not respond", "error", err)
		page(w, http.StatusServiceUnavailable, "the database does not respond\n")
		return
	}
	text := "ready\n"
	for _, task := range s.failures.tasks() {
		text += failingTasks[task] + "; see the log\n"
	}
	if s.notice != nil {
		text += s.notice(ctx)
	}
	page(w, http.StatusOK, text)
}

// page writes a plain-text response.
func page(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header()["Cache-Control"] = noStore
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text) // an error means that the caller has disconnected
}

// openAPI returns the contract.
func (s *Server) openAPI(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/yaml")
	_, _ = w.Write(api.OpenAPI) // an error means that the caller has disconnected
}
