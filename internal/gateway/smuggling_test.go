package gateway_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/wire"
)

// raw sends bytes unchanged, and returns the statuses of all responses until the connection
// closes.
func (r *rig) raw(text string) (statuses []int) {
	r.Helper()
	conn, err := tls.Dial("tcp", r.address, &tls.Config{InsecureSkipVerify: true})
	r.must(err)
	defer func() { _ = conn.Close() }()
	_, err = io.WriteString(conn, text)
	r.must(err)
	reader := bufio.NewReader(conn)
	for {
		resp, err := http.ReadResponse(reader, nil)
		if err != nil {
			return statuses
		}
		statuses = append(statuses, resp.StatusCode)
		if _, err = io.Copy(io.Discard, resp.Body); err != nil || resp.Close {
			return statuses
		}
	}
}

// tokens returns the header lines of both local tokens.
func (r *rig) tokens() string {
	return fmt.Sprintf("Host: x\r\nAuthorization: Bearer %s\r\n%s: %s\r\n", r.bearer.Reveal(), wire.HeaderSessionToken,
		r.token.Reveal())
}

func TestAmbiguousPathsAreRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t, echo, nil)
	for _, target := range []string{
		"/api//m2m/v1/session/login", "/api/./m2m", "/api/x/../m2m/v1/session/login", "/api/m2m/v1/../v1/devices",
		"/api/%2e%2e/secret", "/api/x/%2E%2E/y", "/api/a%2fb", "/api/a%2Fb", "/api/a%5cb", `/api/a\b`, "/api/a%00b",
		"/api/a%0d%0ab",
		"/api/a;b", "/api/a%3bb", "/api/m2m;x/v1/session/login", "/api/a%25b", "/api/%252e%252e/x", "/api/a//", "/api/..",
		"/api/.",
		"/api/%c0%ae%c0%ae/x", "/api/a%7fb",
	} {
		got := r.raw("GET " + target + " HTTP/1.1\r\n" + r.tokens() + "Connection: close\r\n\r\n")
		if len(got) != 1 || got[0] != http.StatusBadRequest && got[0] != http.StatusNotFound {
			t.Errorf("%s returned %v", target, got)
		}
	}
	// The session API and the access tokens are local in any spelling.
	for _, target := range []string{
		"/api/m2m/v1/session/login/", "/api/m2m/v1/Session/Login", "/api/m2m/v1/session", "/api/m2m/v1/session/",
		"/api/M2M/V1/SESSION/LOGOUT",
		"/api/m2m/v1/session/password/actions/Reset", "/api/ts/v1/oauth2/token/", "/api/ts/v1/OAuth2/token",
		"/api/ts/v1/oauth2/other",
		"/api/m2m/v1/%73ession/new", "/api/m2m/v1/%C5%9Dession/logout", "/api/m2m/v1/s%C3%A9ssion",
		"/api/m2m/v1/SESSI%C3%96N/login",
		"/api/m2m/session/logout", "/api/m2m/v1-beta/session/logout", "/api/m2m/v1/v1/session/login",
		"/api/auth/m2m/v1/session/login",
		"/api/auth/v1/auth/v1/m2m/v1/session/login", "/api/ts/oauth2/token", "/api/ts/v1",
	} {
		got := r.raw("POST " + target + " HTTP/1.1\r\n" + r.tokens() + "Content-Length: 2\r\nConnection: close\r\n\r\n{}")
		if len(got) != 1 || got[0] != http.StatusNotFound {
			t.Errorf("%s returned %v", target, got)
		}
	}
	// Targets without a path of the API.
	for _, target := range []string{"/", "/apix", "/API/m2m", "*", "/latchkey/v1/admin/users"} {
		got := r.raw("GET " + target + " HTTP/1.1\r\n" + r.tokens() + "Connection: close\r\n\r\n")
		if len(got) != 1 || got[0] < 400 {
			t.Errorf("%s returned %v", target, got)
		}
	}
	if seen := r.upstream.seen(); len(seen) != 0 {
		t.Errorf("forwarded: %q", seen)
	}
	if p := r.get("/api/m2m/v1/sessions/x.y~z/@me:1,2+3=4!$&'()*"); p.StatusCode != http.StatusOK {
		t.Errorf("an ordinary path returned %d %s", p.StatusCode, p.text)
	}
	if p := r.get("/api/m2m/v1/devices/"); p.StatusCode != http.StatusOK {
		t.Errorf("a slash at the end returned %d %s", p.StatusCode, p.text)
	}
}

func TestOtherTargetsMethodsAndUpgradesAreRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t, echo, nil)
	for name, text := range map[string]string{
		"absolute form": "GET http://evil.example/api/m2m HTTP/1.1\r\n" + r.tokens() + "Connection: close\r\n\r\n",
		"absolute form of ours": "GET https://" + r.address + "/api/m2m HTTP/1.1\r\n" + r.tokens() +
			"Connection: close\r\n\r\n",
		"CONNECT":             "CONNECT evil.example:443 HTTP/1.1\r\n" + r.tokens() + "Connection: close\r\n\r\n",
		"CONNECT with a path": "CONNECT /api/m2m HTTP/1.1\r\n" + r.tokens() + "Connection: close\r\n\r\n",
		"TRACE":               "TRACE /api/m2m HTTP/1.1\r\n" + r.tokens() + "Connection: close\r\n\r\n",
		"trace":               "trace /api/m2m HTTP/1.1\r\n" + r.tokens() + "Connection: close\r\n\r\n",
		"TRACK":               "TRACK /api/m2m HTTP/1.1\r\n" + r.tokens() + "Connection: close\r\n\r\n",
		"websocket": "GET /api/m2m HTTP/1.1\r\n" + r.tokens() +
			"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: eA==\r\n\r\n",
		"h2c": "GET /api/m2m HTTP/1.1\r\n" + r.tokens() +
			"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\n",
		"an upgrade without more": "GET /api/m2m HTTP/1.1\r\n" + r.tokens() + "Upgrade: x\r\nConnection: close\r\n\r\n",
	} {
		if got := r.raw(strings.Replace(text, "Connection: Upgrade", "Connection: close, Upgrade", 1)); len(got) != 1 ||
			got[0] < 400 {
			t.Errorf("%s returned %v", name, got)
		}
	}
	if seen := r.upstream.seen(); len(seen) != 0 {
		t.Errorf("forwarded: %q", seen)
	}
}

func TestRequestsAreNotSmuggled(t *testing.T) {
	t.Parallel()
	r := newRig(t, echo, nil)
	inner := "GET /api/m2m/v1/smuggled HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
	for name, text := range map[string]string{
		"both lengths": "POST /api/m2m HTTP/1.1\r\n" + r.tokens() +
			"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + inner,
		"two lengths": "POST /api/m2m HTTP/1.1\r\n" + r.tokens() + "Content-Length: 0\r\nContent-Length: " +
			fmt.Sprint(len(inner)) + "\r\n\r\n" + inner,
		"an unknown coding": "POST /api/m2m HTTP/1.1\r\n" + r.tokens() +
			"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + inner,
		"chunked twice": "POST /api/m2m HTTP/1.1\r\n" + r.tokens() +
			"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + inner,
		"a space before a colon": "POST /api/m2m HTTP/1.1\r\n" + r.tokens() + "Content-Length : 0\r\n\r\n" + inner,
		"a folded line": "POST /api/m2m HTTP/1.1\r\n" + r.tokens() +
			"X-A: b\r\n Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n" + inner,
		"a negative length": "POST /api/m2m HTTP/1.1\r\n" + r.tokens() + "Content-Length: -1\r\n\r\n" + inner,
		"a bare CR in a header": "POST /api/m2m HTTP/1.1\r\n" + r.tokens() +
			"X-A: b\rTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n" + inner,
		"a NUL in a header": "POST /api/m2m HTTP/1.1\r\n" + r.tokens() + "X-A: b\x00c\r\nContent-Length: 0\r\n\r\n" +
			inner,
		"a length in a GET": "GET /api/m2m HTTP/1.1\r\n" + r.tokens() + "Content-Length: " + fmt.Sprint(len(inner)) +
			"\r\nConnection: close\r\n\r\n" + inner,
		"headers without end": "GET /api/m2m HTTP/1.1\r\n" + r.tokens() + "X-Long: " + strings.Repeat("a", 64<<10) +
			"\r\n\r\n",
		"more headers than ours": "GET /api/m2m HTTP/1.1\r\n" + r.tokens() + strings.Repeat("X-A: b\r\n", 200) +
			"Connection: close\r\n\r\n",
		"a second one, no tokens": "POST /api/m2m HTTP/1.1\r\n" + r.tokens() + "Content-Length: 0\r\n\r\n" + inner,
	} {
		r.raw(text)
		for _, target := range r.upstream.seen() {
			if strings.Contains(target, "smuggled") {
				t.Fatalf("%s: a request was smuggled: %q", name, target)
			}
		}
	}
}
