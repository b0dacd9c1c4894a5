package gateway_test

import (
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/gateway"
)

// location is a header of the upstream's response, and what the caller receives: "-" for no
// such header. ORIGIN stands for http://HOST, HOST for the upstream's host and port.
type location struct{ name, value, want string }

var locations = []location{
	{"Location", "ORIGIN/api/m2m/v1/devices/7", "/api/m2m/v1/devices/7"},
	{"Location", "ORIGIN/api/m2m/v1/devices/7?a=b&c=%2F..#d", "/api/m2m/v1/devices/7?a=b&c=%2F..#d"},
	{"Location", "HTTP://HOST/api/x", "/api/x"},
	{"Location", "https://HOST/api/x", "/api/x"},
	{"Location", "//HOST/api/x", "/api/x"},
	{"Location", "http://user:password@HOST/api/x", "/api/x"},
	{"Location", "http://127.0.0.1@HOST/api/x", "/api/x"},
	{"Location", `http:\\HOST\api\x`, "-"},
	{"Location", `http:\\HOST/api/x`, "/api/x"},
	{"Location", `\\HOST/api/x`, "/api/x"},
	{"Location", `/\HOST/api/x`, "/api/x"},
	{"Location", "///HOST/api/x", "/api/x"},
	{"Location", "http:////HOST/api/x", "/api/x"},
	{"Location", "http:/HOST/api/x", "/api/x"},
	{"Location", "http:HOST/api/x", "/api/x"},
	{"Location", "ht\ttp://HO\tST/api/x", "/api/x"},
	{"Location", "http://%31%32%37.0.0.1:PORT/api/x", "/api/x"},
	{"Location", "http://127.0.0.1.:PORT/api/x", "/api/x"},
	{"Location", "http://127。0｡0.1:PORT/api/x", "/api/x"},
	{"Location", "http://１27.0.0.1:PORT/api/x", "/api/x"},
	{"Location", "http://[::ffff:127.0.0.1]:PORT/api/x", "/api/x"},
	{"Location", "http://127.0.0.1:0PORT/api/x", "/api/x"},
	{"Location", "ws://HOST/api/x", "-"},
	{"Location", "ORIGIN", "/"},
	{"Location", "ORIGIN?x=1", "/?x=1"},
	{"Location", "ORIGIN/elsewhere", "/elsewhere"},
	{"Location", "ORIGIN/api/%C3%A9", "/api/%C3%A9"},
	// Paths that the gateway refuses, or serves itself.
	{"Location", "ORIGIN//evil.example/x", "-"},
	{"Location", `ORIGIN/\evil.example/x`, "-"},
	{"Location", "ORIGIN/api/../healthz", "-"},
	{"Location", "ORIGIN/healthz", "-"},
	{"Location", "ORIGIN/METRICS", "-"},
	{"Location", "ORIGIN/latchkey/v1/session", "-"},
	{"Location", "ORIGIN/api/m2m/v1/session/logout", "-"},
	{"Location", "ORIGIN/api/ts/v1/oauth2/token", "-"},
	{"Location", "ORIGIN/api/a%2fb", "-"},
	{"Location", "/healthz", "-"},
	{"Location", "/api/x/../../healthz", "-"},
	// Relative references and those to other hosts stay unchanged.
	{"Location", "/api/m2m/v1/devices/7", "/api/m2m/v1/devices/7"},
	{"Location", "/login?next=1", "/login?next=1"},
	{"Location", "/api/things/a;b", "/api/things/a;b"},
	{"Location", "devices/7", "devices/7"},
	{"Location", "?page=2", "?page=2"},
	{"Location", "https://elsewhere.example/?next=ORIGIN/api/x", "https://elsewhere.example/?next=ORIGIN/api/x"},
	{"Location", "http://127.0.0.1:1/api/x", "http://127.0.0.1:1/api/x"},
	{"Location", "http://127.0.0.1/api/x", "http://127.0.0.1/api/x"},
	{"Location", "http://127.0.0.1.evil.example:PORT/api/x", "http://127.0.0.1.evil.example:PORT/api/x"},
	{"Location", "http://127.0.0.1.evil.example:PORT/api/x", "http://127.0.0.1.evil.example:PORT/api/x"},
	{"Location", "mailto:x@HOST", "mailto:x@HOST"},
	{"Location", "", ""},
	// Other headers that hold references.
	{"Content-Location", "ORIGIN/api/x", "/api/x"},
	{"Operation-Location", "ORIGIN/api/x", "/api/x"},
	{"Azure-Asyncoperation", "ORIGIN/api/x", "/api/x"},
	{"X-Next-Page", "ORIGIN/api/x?page=2", "/api/x?page=2"},
	{"X-Next-Url", "//HOST/api/x", "/api/x"},
	{"X_Location", "ORIGIN/api/x", "/api/x"},
	{"X-Text", "see ORIGIN/api/x", "see ORIGIN/api/x"},
	{"X-Path-Text", "/healthz", "/healthz"},
	{"Access-Control-Allow-Origin", "ORIGIN", "ORIGIN"},
	{"Refresh", "5; url=ORIGIN/api/x", "5; url=/api/x"},
	{"Refresh", `0;URL = "ORIGIN/api/x"`, "0; url=/api/x"},
	{"Refresh", "0,'ORIGIN/api/x'", "0; url=/api/x"},
	{"Refresh", "0; ORIGIN/api/x", "0; url=/api/x"},
	{"Refresh", "0 url=ORIGIN/api/x", "0; url=/api/x"},
	{"Refresh", "0 ORIGIN/api/x", "0; url=/api/x"},
	{"Refresh", "5 ; url = 'ORIGIN/api/x'", "5; url=/api/x"},
	{"Refresh", "0 url=ORIGIN/api/x;y", "-"},
	{"Refresh", "0; url=ORIGIN/healthz", "-"},
	{"Refresh", "0; url=https://elsewhere.example/", "0; url=https://elsewhere.example/"},
	{"Refresh", "30", "30"},
	{
		"Link", `<ORIGIN/api/x?page=2>; rel="next, last", <https://elsewhere.example/a,b>; rel=help`,
		`</api/x?page=2>; rel="next, last", <https://elsewhere.example/a,b>; rel=help`,
	},
	{"Link", `<ORIGIN/api/x>; rel=next,<ORIGIN/healthz>; rel=up`, `</api/x>; rel=next`},
	{"Link", `<ORIGIN/healthz>; rel=up`, "-"},
	{"Link", `< ORIGIN/api/x >; title="a \"<b>\", c"`, `</api/x>; title="a \"<b>\", c"`},
	{"Link", `ORIGIN/api/x`, `/api/x`},
	{"Link", `<//HOST/api/x>; rel=next`, `</api/x>; rel=next`},
}

func TestReferencesToTheUpstreamLeadToTheGateway(t *testing.T) {
	t.Parallel()
	var next location
	r := newRig(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header()[next.name] = []string{next.value}
		w.WriteHeader(http.StatusEarlyHints)
		clear(w.Header())
		w.Header()[next.name] = []string{next.value}
		w.WriteHeader(http.StatusFound)
		_ = http.NewResponseController(w).Flush()
		w.Header()[http.TrailerPrefix+"X-"+next.name] = []string{next.value}
	}, nil)
	r.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	upstream, err := url.Parse(r.upstream.URL)
	r.must(err)
	words := strings.NewReplacer("ORIGIN", r.upstream.URL, "HOST", upstream.Host, "HO\tST", upstream.Host, "PORT",
		upstream.Port())
	for _, l := range locations {
		next = location{l.name, words.Replace(l.value), words.Replace(l.want)}
		var hints http.Header
		req := r.request("GET", "/api/m2m/v1/devices", http.NoBody)
		req = req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
			Got1xxResponse: func(_ int, header textproto.MIMEHeader) error { hints = http.Header(header); return nil },
		}))
		p := r.do(req)
		if p.StatusCode != http.StatusFound {
			t.Fatalf("%s: %s returned %d %s", next.name, next.value, p.StatusCode, p.text)
		}
		name := http.CanonicalHeaderKey(next.name)
		for what, header := range map[string]http.Header{"header": p.Header, "1xx": hints} {
			got, ok := header[name]
			if !ok {
				got = []string{"-"}
			}
			if len(got) != 1 || got[0] != next.want {
				t.Errorf("%s: %s came in the %s as %q, want %q", next.name, next.value, what, got, next.want)
			}
		}
		if got := p.Trailer.Get("X-" + name); next.want != next.value && got == next.value &&
			!strings.HasPrefix(next.value, "/healthz") && next.name == "Location" {
			t.Errorf("X-%s: %s came in the trailer as it was", next.name, next.value)
		}
	}
}

// The upstream is below a path.
func TestReferencesLoseTheUpstreamsBasePath(t *testing.T) {
	t.Parallel()
	var value string
	r := newRig(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Location"] = []string{value}
		w.WriteHeader(http.StatusCreated)
	}, func(c *gateway.Config) { c.URL += "/base/" })
	for in, want := range map[string]string{
		"ORIGIN/base/api/x":   "/api/x",
		"/base/api/x?a=b":     "/api/x?a=b",
		"ORIGIN/base":         "/",
		"ORIGIN/base/other":   "/other",
		"ORIGIN/api/x":        "", // another resource is at /api/x of the gateway
		"/api/x":              "",
		"ORIGIN/basement/x":   "",
		"ORIGIN/base/healthz": "",
		"/base/a;b":           "",
		"../x":                "../x",
		"https://x.example/b": "https://x.example/b",
	} {
		value = strings.Replace(in, "ORIGIN", r.upstream.URL, 1)
		p := r.get("/api/m2m/v1/devices")
		if got := p.Header.Get("Location"); p.StatusCode != http.StatusCreated || got != want {
			t.Errorf("%s returned %d %q, want %q", in, p.StatusCode, got, want)
		}
	}
	if seen := r.upstream.seen(); seen[0] != "GET /base/api/m2m/v1/devices" {
		t.Errorf("upstream: %q", seen[0])
	}
}

// A client that follows redirects stays at the gateway, tokens and all.
func TestAClientThatFollowsRedirectsStaysAtTheGateway(t *testing.T) {
	t.Parallel()
	var r *rig
	r = newRig(t, func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/api/old" {
			http.Redirect(w, req, r.upstream.URL+"/api/new?x=1", http.StatusTemporaryRedirect)
			return
		}
		echo(w, req)
	}, nil)
	p := r.do(r.request("POST", "/api/old", strings.NewReader("body")))
	if got := p.echoed(t); got.Target != "/api/new?x=1" || got.Body != "body" || p.Request.URL.Host != r.address {
		t.Errorf("ended at %s with %s %q", p.Request.URL, got.Target, got.Body)
	}
}
