package server

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/wire"
)

const verifyPrefix = wire.PathVerify + "/"

// verify checks both tokens for a proxy that asks before it forwards a request. If
// they are valid it responds with 200 and the caller's identity in headers. Otherwise
// it responds as the API does, except that every 400 becomes a 401, the only refusal
// that nginx, Traefik and Envoy all understand.
//
// Proxies call it for every request to a service, so it allocates as little as
// possible, reads only the authority's clock, and sets headers by their canonical key.
func (s *Server) verify(w http.ResponseWriter, r *http.Request) {
	session, client, err := s.check(r)
	if err != nil {
		e := apiErrorOf(err)
		status := e.status
		if status == http.StatusBadRequest {
			status = http.StatusUnauthorized
			w.Header()["Www-Authenticate"] = []string{bearerChallenge}
		}
		w.Header()[wire.HeaderRequestID] = []string{requestID(r)}
		e.write(w, status)
		s.metrics.count("verify", e.code)
		return
	}
	header := w.Header()
	if values := r.Header[wire.HeaderRequestID]; values != nil {
		header[wire.HeaderRequestID] = []string{requestID(r)}
	}
	age := max(0, int(s.authority.Now().Sub(session.CreatedAt)/time.Second))
	identity := &[...]string{
		headerValue(session.User), session.Key.ID(), headerValue(client.Key), strconv.Itoa(age),
	}
	header[wire.HeaderUser] = identity[0:1:1]
	header[wire.HeaderSessionID] = identity[1:2:2]
	header[wire.HeaderClient] = identity[2:3:3]
	header[wire.HeaderSessionAge] = identity[3:4:4]
	header["Cache-Control"] = noStore
	s.metrics.verified.Inc()
	w.WriteHeader(http.StatusOK)
}

// headerValue encodes a name so that a reader of the header gets exactly that name
// back: the percent sign and every byte that is not visible ASCII are percent-encoded.
// Unencoded, "zoe " would arrive as "zoe", which may be another user.
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
