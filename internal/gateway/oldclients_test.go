package gateway_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/wire"
)

// raw sends bytes on a new connection, with the tokens of a user in place of TOKENS. It
// returns the final response and whether the connection closes after it.
func (w *world) raw(user, text string) (status int, header http.Header, body string, closed bool) {
	w.Helper()
	plain, err := w.local.Dial(context.Background(), "", "")
	w.must(err)
	conn := tls.Client(plain, &tls.Config{InsecureSkipVerify: true})
	defer func() { _ = conn.Close() }()
	tokens := "Authorization: " + w.users[user].Get("Authorization") + "\r\n" +
		wire.HeaderSessionToken + ": " + w.users[user].Get(wire.HeaderSessionToken) + "\r\n"
	_, err = io.WriteString(conn, strings.Replace(text, "TOKENS\r\n", tokens, 1))
	w.must(err)
	in := bufio.NewReader(conn)
	resp, err := http.ReadResponse(in, nil)
	for err == nil && resp.StatusCode < http.StatusOK {
		resp, err = http.ReadResponse(in, nil)
	}
	w.must(err)
	read, err := io.ReadAll(resp.Body)
	w.must(err)
	return resp.StatusCode, resp.Header, string(read), resp.Close
}

// Clients with HTTP/1.0, with connections that close, and with malformed bodies.
func TestOldAndBrokenClients(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 100_000)
	set := setting{handler: func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		if r.URL.Path == "/api/late" {
			w.Header().Set("Retry-After", "Fri, 31 Dec 1999 23:59:59 GMT")
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_, _ = fmt.Fprintf(w, "%s %d ", r.Proto, len(body))
		_ = http.NewResponseController(w).Flush()
		_, _ = io.WriteString(w, long)
	}}
	inWorld(t, set, func(w *world) {
		for name, c := range map[string]struct {
			text   string
			status int
			length string // of the body, as the upstream saw it
			closed bool
		}{
			"1.0":             {"GET /api/x HTTP/1.0\r\nTOKENS\r\n\r\n", 200, "0", true},
			"1.0 keep-alive":  {"GET /api/x HTTP/1.0\r\nConnection: keep-alive\r\nTOKENS\r\n\r\n", 200, "0", true},
			"1.0 with a body": {"POST /api/x HTTP/1.0\r\nContent-Length: 2\r\nTOKENS\r\n\r\n{}", 200, "2", true},
			"close": {"GET /api/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTOKENS\r\n\r\n", 200,
				"0", true},
			"a Retry-After that is a date": {"GET /api/late HTTP/1.1\r\nHost: x\r\nTOKENS\r\n\r\n", 503, "0", false},
			"malformed chunks": {"POST /api/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTOKENS\r\n\r\n" +
				"2\r\n{}\r\nzz\r\n", 400, "", true},
			"Expect on 1.0": {"POST /api/x HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\nTOKENS\r\n\r\n{}",
				200, "2", true},
		} {
			status, header, body, closed := w.raw("one", c.text)
			if status != c.status || closed != c.closed {
				w.Errorf("%s: got %d, closed %v, %.80s", name, status, closed, body)
			}
			if c.length != "" && body != "HTTP/1.1 "+c.length+" "+long {
				w.Errorf("%s: got %d bytes: %.80s", name, len(body), body)
			}
			if strings.Contains(name, "date") && header.Get("Retry-After") != "Fri, 31 Dec 1999 23:59:59 GMT" {
				w.Errorf("Retry-After came as %q", header.Get("Retry-After"))
			}
		}
		if log := w.log.String(); strings.Contains(log, "level=WARN") || strings.Contains(log, "level=ERROR") {
			w.Errorf("the log has a warning: %s", log)
		}
	})
}
