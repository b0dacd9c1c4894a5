package server

import (
	"net/http"
	"strconv"
	"time"

	"github.com/latchkey/latchkey/internal/wire"
)

// forwarded checks both tokens of a request and hands it on.
func (s *Server) forwarded(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	if _, _, err := s.check(r); err != nil {
		s.refuse(w, r, "forward", refusalOf(err))
		return
	}
	id := requestID(r)
	r.Header[wire.HeaderRequestID] = []string{id}
	w.Header()[wire.HeaderRequestID] = []string{id} // unless the upstream answers with one of its own
	answer := &statusWriter{ResponseWriter: w, status: http.StatusOK}
	s.forward.ServeHTTP(answer, r)
	s.metrics.observe("forward", strconv.Itoa(answer.status), time.Since(start))
}

// statusWriter remembers the status of an answer.
type statusWriter struct {
	http.ResponseWriter

	status int
}

// WriteHeader implements http.ResponseWriter. There may be informational answers
// before the one.
func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap lets an http.ResponseController find what the writer below can do.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
