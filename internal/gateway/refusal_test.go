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

// A resource that refuses the gateway's good session is its callers' trouble, and
// they are told so.
func TestAResourceThatRefusesTheGatewaysSession(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"session": `{"errorCode":"Any.REQUEST_FAILED.SessionToken.Expired"}`, "bearer": `{"fault":{"code":"900901"}}`, "either": "",
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, func(w http.ResponseWriter, req *http.Request) {
				if req.URL.Path == "/api/bad" {
					w.WriteHeader(map[string]int{"session": 400}[name] + map[string]int{"bearer": 401, "either": 401}[name])
					_, _ = io.WriteString(w, body)
				}
			}, nil)
			told := 0
			for range 20 {
				if p := r.get("/api/good"); p.StatusCode != 200 {
					t.Errorf("a good resource is answered %d %s", p.StatusCode, p.text)
				}
				p := r.get("/api/bad")
				switch {
				case p.StatusCode == 502 && strings.Contains(p.text, "for this request") && p.Header.Get("Retry-After") == "":
					told++
				case p.StatusCode == 503 && strings.Contains(p.text, "not executed"):
				default:
					t.Errorf("the bad resource is answered %d %s", p.StatusCode, p.text)
				}
			}
			if told < 15 || r.upstream.Count(latchtest.EventLogIn) > 2 {
				t.Errorf("%d of 20 were told; %d logins upstream", told, r.upstream.Count(latchtest.EventLogIn))
			}
			// The session ends all the same.
			r.upstream.ExpireSessions(latchtest.User)
			if p := r.patiently("GET", "/api/good", ""); p.StatusCode != 200 {
				t.Errorf("after the end of the session: %d %s", p.StatusCode, p.text)
			}
		})
	}
}

// What callers accept is reduced to what the gateway can read refusals in.
func TestTheUpstreamIsAskedForCodingsThatCanBeRead(t *testing.T) {
	t.Parallel()
	var asked atomic.Value
	r := newRig(t, func(_ http.ResponseWriter, req *http.Request) {
		asked.Store(strings.Join(req.Header["Accept-Encoding"], "|"))
	}, nil)
	for accept, want := range map[string]string{"gzip, deflate, br, zstd": "gzip, deflate", "br": "identity", "": "", "gzip;q=0.1": "gzip;q=0.1"} {
		req := r.request("GET", "/api/x", http.NoBody)
		if accept != "" {
			req.Header.Set("Accept-Encoding", accept)
		}
		if p := r.do(req); p.StatusCode != 200 || asked.Load() != want {
			t.Errorf("%q went upstream as %q, want %q", accept, asked.Load(), want)
		}
	}
}

// A HEAD whose 400 is the session's end is the keeper's business, and one whose 400
// is its own goes back as it came.
func TestA400ToHeadThroughTheGateway(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/api/bad" {
			w.WriteHeader(http.StatusBadRequest)
		}
	}, nil)
	for range 5 {
		if p := r.do(r.request("HEAD", "/api/bad", http.NoBody)); p.StatusCode != 400 {
			t.Errorf("the bad resource is answered %d", p.StatusCode)
		}
		if p := r.do(r.request("HEAD", "/api/good", http.NoBody)); p.StatusCode != 200 {
			t.Errorf("the good resource is answered %d", p.StatusCode)
		}
	}
	if n := r.upstream.Count(latchtest.EventLogIn); n > 2 {
		t.Errorf("%d logins upstream", n)
	}
	r.upstream.ExpireSessions(latchtest.User)
	// A session that was ended when it was hardly opened is renewed a second after that.
	for began := time.Now(); time.Since(began) < 10*time.Second; {
		if r.do(r.request("HEAD", "/api/good", http.NoBody)).StatusCode == 200 {
			break
		}
	}
	if p := r.get("/api/good"); p.StatusCode != 200 || r.upstream.Count(latchtest.EventLogIn) > 3 {
		t.Errorf("after the end of the session: %d, %d logins upstream", p.StatusCode, r.upstream.Count(latchtest.EventLogIn))
	}
}
