package server

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/wire"
)

// mounted returns r as a request to wire.PathHosts if its Host header names a further
// host of the upstream. The session token of a request to such a host may be in the
// header that the host itself takes.
func (s *Server) mounted(r *http.Request) *http.Request {
	if !strings.HasPrefix(r.URL.Path, wire.PathHosts) {
		name := ""
		if s.hostNamed != nil && strings.HasPrefix(r.URL.Path, "/") {
			name = s.hostNamed(r.Host)
		}
		if name == "" {
			return r
		}
		mount := wire.PathHosts + name
		copied, moved := *r, *r.URL
		moved.Path = mount + moved.Path
		if moved.RawPath != "" {
			moved.RawPath = mount + moved.RawPath
		}
		copied.URL = &moved
		r = &copied
	}
	if tokens := r.Header[impTokenKey]; tokens != nil && r.Header[sessionTokenKey] == nil {
		r.Header[sessionTokenKey] = tokens
	}
	return r
}

var impTokenKey = http.CanonicalHeaderKey(wire.HeaderSessionTokenIMP)

// forwarded checks both tokens of a request and hands it on.
func (s *Server) forwarded(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	session, client, err := s.sender(r)
	if err != nil {
		s.refuse(w, r, "forward", refusalOf(err))
		return
	}
	may, err := s.authority.Permits(r.Context(), session, r.Method, r.URL.Path)
	if err != nil {
		s.refuse(w, r, "forward", refusalOf(err))
		return
	}
	id := requestID(r)
	r.Header[wire.HeaderRequestID] = []string{id}
	w.Header()[wire.HeaderRequestID] = []string{id} // unless the upstream answers with one of its own
	answer := &statusWriter{ResponseWriter: w, status: http.StatusOK}
	whole := false
	defer func() { // an answer that breaks off ends in a panic
		if !whole && r.Context().Err() != nil {
			answer.status = wire.StatusCallerLeft
		}
		took := time.Since(start)
		s.metrics.observe("forward", strconv.Itoa(answer.status), took)
		event := s.forwardedEvent(r, session, client, answer, took)
		if answer.refused {
			s.authority.RecordRefused(context.WithoutCancel(r.Context()), event) // the caller may have left
		} else {
			s.trail.add(event)
		}
	}()
	if !may {
		answer.Refused()
		notAllowed.write(answer, notAllowed.status)
	} else {
		s.forward.ServeHTTP(answer, r.WithContext(authority.WithUser(r.Context(), session.User)))
	}
	whole = true
}

// sender returns the session and the API client that a request runs as: those of its
// tokens, or, for a trusted program of this machine, a session of its user alone.
func (s *Server) sender(r *http.Request) (authority.Session, authority.Client, error) {
	if s.isTrusted(r) {
		return authority.Session{User: s.local}, authority.Client{}, nil
	}
	session, client, err := s.check(r)
	if errors.Is(err, noBearer) && len(r.Header[wire.HeaderLocal]) > 0 {
		err = localRefused
	}
	return session, client, err
}

// statusWriter records what the audit trail holds of a response.
type statusWriter struct {
	http.ResponseWriter

	status  int
	refused bool
}

// Refused is called by the handler that refuses a request and sends nothing on.
func (w *statusWriter) Refused() { w.refused = true }

// WriteHeader implements http.ResponseWriter. There may be informational answers
// before the one.
func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap lets an http.ResponseController find what the writer below can do.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
