package server

import (
	"context"
	"net/http"
	"strings"

	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/wire"
)

// Guard returns a handler that passes a request on to next if both of its tokens
// are valid, which counts as a use of the session. Otherwise it responds as an
// operation of the API does.
func (s *Server) Guard(next func(http.ResponseWriter, *http.Request, authority.Session)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		session, _, err := s.check(r)
		if err != nil {
			s.refuse(w, r, "guarded", apiErrorOf(err))
			return
		}
		next(w, r, session)
	})
}

// check returns the session and the API client of the tokens that a request carries.
func (s *Server) check(r *http.Request) (authority.Session, authority.Client, error) {
	session, client, err := s.checkIn(r.Context(), r)
	if err != nil && r.Context().Err() != nil {
		// The context is examined only now, because that costs other requests nothing.
		ctx, cancel := untilDisconnect(r)
		defer cancel()
		session, client, err = s.checkIn(ctx, r)
	}
	return session, client, err
}

func (s *Server) checkIn(ctx context.Context, r *http.Request) (authority.Session, authority.Client, error) {
	client, err := s.bearer(ctx, r.Header)
	if err != nil {
		return authority.Session{}, client, err
	}
	token, err := sessionToken(r.Header)
	if err != nil {
		return authority.Session{}, client, err
	}
	session, err := s.authority.Check(ctx, token)
	return session, client, err
}

// identify reads both tokens of a call, the access token first.
func (s *Server) identify(c *call) (authority.SessionToken, error) {
	client, err := s.bearer(c.ctx, c.r.Header)
	if err != nil {
		return authority.SessionToken{}, err
	}
	c.client = client.Key
	return sessionToken(c.r.Header)
}

// bearer returns the API client whose access token is in header.
func (s *Server) bearer(ctx context.Context, header http.Header) (authority.Client, error) {
	values := header["Authorization"]
	if len(values) == 0 || len(values) == 1 && values[0] == "" {
		return authority.Client{}, noBearer
	}
	const scheme = len(wire.TokenTypeBearer)
	value := values[0]
	if len(values) > 1 || len(value) <= scheme || value[scheme] != ' ' ||
		!strings.EqualFold(value[:scheme], wire.TokenTypeBearer) {
		return authority.Client{}, invalidBearer
	}
	return s.authority.Authenticate(ctx, strings.TrimLeft(value[scheme:], " "))
}

// sessionTokenKey is wire.HeaderSessionToken in http.Header's canonical form.
var sessionTokenKey = http.CanonicalHeaderKey(wire.HeaderSessionToken)

// sessionToken parses the session token in header. The authority decides whether
// a session has it.
func sessionToken(header http.Header) (authority.SessionToken, error) {
	values := header[sessionTokenKey]
	if len(values) == 0 || len(values) == 1 && values[0] == "" {
		return authority.SessionToken{}, tokenMissing
	}
	token, ok := authority.ParseSessionToken(values[0])
	if !ok || len(values) > 1 {
		return authority.SessionToken{}, tokenInvalid
	}
	return token, nil
}
