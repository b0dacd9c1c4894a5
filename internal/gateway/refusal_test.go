package gateway_test

import (
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey/latchkey/latchtest"
)

// If one resource refuses the gateway's valid session, its callers get a 502 that says so.
func TestAResourceThatRefusesTheGatewaysSession(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"session": `{"errorCode":"Any.REQUEST_FAILED.SessionToken.Expired"}`, "bearer": `{"fault":{"code":"900901"}}`,
		"either": "",
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, func(w http.ResponseWriter, req *http.Request) {
				if req.URL.Path == "/api/bad" {
					w.WriteHeader(map[string]int{"session": 400}[name] + map[string]int{"bearer": 401, "either": 401}[name])
					_, _ = io.WriteString(w, body)
				}
			}, nil)
			reported := 0
			for range 20 {
				if p := r.get("/api/good"); p.StatusCode != 200 {
					t.Errorf("a good resource returned %d %s", p.StatusCode, p.text)
				}
				p := r.get("/api/bad")
				switch {
				case p.StatusCode == 502 && strings.Contains(p.text, "for this request") && p.Header.Get("Retry-After") == "":
					reported++
				case p.StatusCode == 503 && strings.Contains(p.text, "not executed"):
				default:
					t.Errorf("the bad resource returned %d %s", p.StatusCode, p.text)
				}
			}
			if reported < 15 || r.upstream.Count(latchtest.EventLogIn) > 2 {
				t.Errorf("%d of 20 responses say so; %d logins upstream", reported, r.upstream.Count(latchtest.EventLogIn))
			}
			// The end of the session is noticed nevertheless.
			r.upstream.ExpireSessions(latchtest.User)
			if p := r.patiently("GET", "/api/good", ""); p.StatusCode != 200 {
				t.Errorf("after the end of the session: %d %s", p.StatusCode, p.text)
			}
		})
	}
}

// The codings that callers accept are reduced to those that the gateway can decode.
func TestAcceptEncodingIsReducedToReadableCodings(t *testing.T) {
	t.Parallel()
	var asked atomic.Value
	r := newRig(t, func(_ http.ResponseWriter, req *http.Request) {
		asked.Store(strings.Join(req.Header["Accept-Encoding"], "|"))
	}, nil)
	for accept, want := range map[string]string{"gzip, deflate, br, zstd": "gzip, deflate", "br": "identity", "": "",
		"gzip;q=0.1": "gzip;q=0.1"} {
		req := r.request("GET", "/api/x", http.NoBody)
		if accept != "" {
			req.Header.Set("Accept-Encoding", accept)
		}
		if p := r.do(req); p.StatusCode != 200 || asked.Load() != want {
			t.Errorf("%q was forwarded as %q, want %q", accept, asked.Load(), want)
		}
	}
}

// If a HEAD gets 400 because the session has ended, the keeper renews the session. Any
// other 400 is returned unchanged.
func TestA400ToHeadThroughTheGateway(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/api/bad" {
			w.WriteHeader(http.StatusBadRequest)
		}
	}, nil)
	for range 5 {
		if p := r.do(r.request("HEAD", "/api/bad", http.NoBody)); p.StatusCode != 400 {
			t.Errorf("the bad resource returned %d", p.StatusCode)
		}
		if p := r.do(r.request("HEAD", "/api/good", http.NoBody)); p.StatusCode != 200 {
			t.Errorf("the good resource returned %d", p.StatusCode)
		}
	}
	if n := r.upstream.Count(latchtest.EventLogIn); n > 2 {
		t.Errorf("%d logins upstream", n)
	}
	r.upstream.ExpireSessions(latchtest.User)
	// A session that ended right after the login is renewed a second after that login.
	for began := time.Now(); time.Since(began) < 10*time.Second; {
		if r.do(r.request("HEAD", "/api/good", http.NoBody)).StatusCode == 200 {
			break
		}
	}
	if p := r.get("/api/good"); p.StatusCode != 200 || r.upstream.Count(latchtest.EventLogIn) > 3 {
		t.Errorf("after the end of the session: %d, %d logins upstream", p.StatusCode, r.upstream.Count(latchtest.EventLogIn))
	}
}
