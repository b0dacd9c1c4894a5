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
// host of the upstream. A request to such a host may carry its session token in the
// header that the host itself accepts.
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

// forwarded checks both tokens of a request and passes it on to Config.Forward.
func (s *Server) forwarded(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	session, client, err := s.sender(r)
	if err != nil {
		s.refuse(w, r, "forward", apiErrorOf(err))
		return
	}
	may, err := s.authority.Permits(r.Context(), session, r.Method, r.URL.Path)
	if err != nil {
		s.refuse(w, r, "forward", apiErrorOf(err))
		return
	}
	id := requestID(r)
	r.Header[wire.HeaderRequestID] = []string{id}
	w.Header()[wire.HeaderRequestID] = []string{id} // the upstream's own ID, if there is one, replaces it
	response := &statusWriter{ResponseWriter: w, status: http.StatusOK}
	complete := false
	defer func() { // a response that breaks off ends in a panic
		if !complete && r.Context().Err() != nil {
			response.status = wire.StatusCallerLeft
		}
		took := time.Since(start)
		s.metrics.observe("forward", strconv.Itoa(response.status), took)
		event := s.forwardedEvent(r, session, client, response, took)
		if response.refused {
			s.authority.RecordRefused(context.WithoutCancel(r.Context()), event) // the caller may have disconnected
		} else {
			s.audit.add(event)
		}
	}()
	if !may {
		response.Refused()
		notAllowed.write(response, notAllowed.status)
	} else {
		s.forward.ServeHTTP(response, r.WithContext(authority.WithUser(r.Context(), session.User)))
	}
	complete = true
}

// sender returns the session and the API client that a request runs as: those of its
// tokens, or, for a trusted local program, a session that holds only its user.
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

// forwardedEvent returns the audit event of a forwarded request and its outcome. It
// leaves out the query, which may hold data that must not be kept.
func (s *Server) forwardedEvent(
	r *http.Request, session authority.Session, client authority.Client, response *statusWriter, took time.Duration,
) authority.Event {
	event := authority.Event{
		At: s.authority.Now(), Kind: authority.EventForwarded, User: session.User, SessionID: sessionID(session),
		Client: client.Key, Address: s.address(r), RequestID: r.Header.Get(wire.HeaderRequestID),
		Method: r.Method, Path: r.URL.EscapedPath(), Status: response.status, Duration: took,
	}
	if response.refused {
		event.Kind = authority.EventForwardRefused
	}
	if id := response.Header().Get(wire.HeaderRequestID); id != event.RequestID {
		event.UpstreamID = id
	}
	return event
}

// sessionID returns the public ID of a session; "" for that of a trusted program.
func sessionID(session authority.Session) string {
	if session.Key == (authority.SessionKey{}) {
		return ""
	}
	return session.Key.ID()
}

// statusWriter records what the audit trail holds of a response.
type statusWriter struct {
	http.ResponseWriter

	status  int
	refused bool
}

// Refused is called by a handler that refuses a request without forwarding it.
func (w *statusWriter) Refused() { w.refused = true }

// WriteHeader implements http.ResponseWriter. Informational responses may precede the
// final one.
func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap gives an http.ResponseController access to the underlying writer.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
