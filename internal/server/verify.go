package server

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/wire"
)

// verify checks both tokens for a proxy that asks before it forwards. It answers
// 200 with who the caller is in headers, or refuses as the API does, but always
// with 401 where the API says 400, because nginx, Traefik and Envoy understand
// no other refusal.
//
// It is asked for every request to somebody's service, so it allocates nothing
// of its own, reads no clock beyond the authority's, and sets headers by their
// canonical key.
func (s *Server) verify(w http.ResponseWriter, r *http.Request) {
	session, client, err := s.check(r)
	if err != nil {
		f := refusalOf(err)
		status := f.status
		if status == http.StatusBadRequest {
			status = http.StatusUnauthorized
			w.Header()["Www-Authenticate"] = []string{bearerChallenge}
		}
		w.Header()[wire.HeaderRequestID] = []string{requestID(r)}
		f.write(w, status)
		s.metrics.count("verify", f.code)
		return
	}
	header := w.Header()
	if values := r.Header[wire.HeaderRequestID]; values != nil {
		header[wire.HeaderRequestID] = []string{requestID(r)}
	}
	who := s.identities.of(session, client)
	header[wire.HeaderUser] = who.user[:]
	header[wire.HeaderSessionID] = who.session[:]
	header[wire.HeaderClient] = who.client[:]
	header["Cache-Control"] = noStore
	s.metrics.verified.Inc()
	w.WriteHeader(http.StatusOK)
}

func (s *Server) check(r *http.Request) (authority.Session, authority.Client, error) {
	ctx := r.Context()
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

// identity is what verify says about a caller, ready to be header values.
type identity struct {
	key                   authority.SessionKey
	apiKey                string
	user, session, client [1]string
}

// identities remembers the identities that were last seen, one for each place
// that a session key can fall on, so that they need not be spelled out again for
// every request. It is bounded by its size, and never wrong: a session's user
// does not change, and the key is compared whole.
type identities [4096]atomic.Pointer[identity]

func (seen *identities) of(session authority.Session, client authority.Client) *identity {
	// The key is a SHA-256, so any of its bits will do.
	place := &seen[(int(session.Key[0])<<8|int(session.Key[1]))%len(seen)]
	if who := place.Load(); who != nil && who.key == session.Key && who.apiKey == client.Key {
		return who
	}
	who := &identity{
		key:     session.Key,
		apiKey:  client.Key,
		user:    [1]string{headerValue(session.User)},
		session: [1]string{session.Key.ID()},
		client:  [1]string{headerValue(client.Key)},
	}
	place.Store(who)
	return who
}

// headerValue spells a name as a header value that reads back as exactly that
// name: bytes that are not visible ASCII, and the percent sign, are
// percent-encoded. Otherwise "zoe " would arrive as "zoe", who may be somebody
// else.
func headerValue(name string) string {
	plain := func(c byte) bool { return c > ' ' && c <= '~' && c != '%' }
	var b strings.Builder
	for i := range len(name) {
		if plain(name[i]) {
			b.WriteByte(name[i])
		} else {
			fmt.Fprintf(&b, "%%%02X", name[i])
		}
	}
	return b.String()
}
