package server

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/wire"
)

// verify checks both tokens for a proxy that asks before it forwards. It answers
// 200 with who the caller is in headers, or refuses as the API does, but always
// with 401 where the API says 400, because nginx, Traefik and Envoy understand
// no other refusal.
//
// It is asked for every request to somebody's service, so it allocates next to
// nothing, reads no clock but the authority's, and sets headers by their
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
	age := max(0, int(s.authority.Now().Sub(session.CreatedAt)/time.Second))
	who := &[...]string{headerValue(session.User), session.Key.ID(), headerValue(client.Key), strconv.Itoa(age)}
	header[wire.HeaderUser] = who[0:1:1]
	header[wire.HeaderSessionID] = who[1:2:2]
	header[wire.HeaderClient] = who[2:3:3]
	header[wire.HeaderSessionAge] = who[3:4:4]
	header["Cache-Control"] = noStore
	s.metrics.verified.Inc()
	w.WriteHeader(http.StatusOK)
}

// check finds whose tokens the request carries.
func (s *Server) check(r *http.Request) (authority.Session, authority.Client, error) {
	session, client, err := s.checkIn(r.Context(), r)
	if err != nil && r.Context().Err() != nil {
		// The context is only looked at now, because that costs nothing elsewhere.
		ctx, cancel := untilLeft(r)
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

// headerValue spells a name as a header value that reads back as exactly that
// name: bytes that are not visible ASCII, and the percent sign, are
// percent-encoded. Otherwise "zoe " would arrive as "zoe", who may be somebody
// else.
func headerValue(name string) string {
	plain := func(c byte) bool { return c > ' ' && c <= '~' && c != '%' }
	at := 0
	for at < len(name) && plain(name[at]) {
		at++
	}
	if at == len(name) {
		return name
	}
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
