package gateway_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/gateway"
)

// newHost starts a further host of an upstream, which records its requests.
func newHost(t *testing.T, handler http.HandlerFunc) (url string, seen func() []*http.Request) {
	requests := make(chan *http.Request, 100)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests <- r
		if handler != nil {
			handler(w, r)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL, func() (all []*http.Request) {
		for len(requests) > 0 {
			all = append(all, <-requests)
		}
		return all
	}
}

func TestGatewayForwardsToFurtherHosts(t *testing.T) {
	t.Parallel()
	imp, atIMP := newHost(t, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	edge, atEdge := newHost(t, nil)
	r := newRig(t, echo, func(c *gateway.Config) { c.Hosts = []gateway.Host{{"imp", imp}, {"5gedge", edge}} })
	resp := r.do(r.request(http.MethodPost, "/latchkey/hosts/imp/v1/a%20b/?q=1", strings.NewReader("{}")))
	got := atIMP()
	if resp.StatusCode != http.StatusOK || len(got) != 1 {
		t.Fatalf("status %d, %d requests\n%s", resp.StatusCode, len(got), resp.text)
	}
	sent := got[0]
	if sent.RequestURI != "/v1/a%20b/?q=1" || sent.Method != http.MethodPost ||
		sent.Host != strings.TrimPrefix(imp, "http://") {
		t.Errorf("the host got %s %s for %s", sent.Method, sent.RequestURI, sent.Host)
	}
	upstream, err := r.keeper.Tokens(t.Context())
	r.must(err)
	if sent.Header.Get("SessionToken") != upstream.Session.Reveal() || sent.Header["Vz-M2m-Token"] != nil ||
		sent.Header.Get("Authorization") != "Bearer "+upstream.Bearer.Reveal() {
		t.Errorf("the host got %v", sent.Header)
	}
	r.get("/latchkey/hosts/5gedge/api/mec/services")
	if got := atEdge(); len(got) != 1 || got[0].Header.Get("VZ-M2M-Token") != upstream.Session.Reveal() ||
		got[0].Header["Sessiontoken"] != nil {
		t.Errorf("the other host got %v", got)
	}
	// As a program does that knows the host's own header.
	req := r.request(http.MethodGet, "/latchkey/hosts/imp/x", http.NoBody)
	req.Header.Del("VZ-M2M-Token")
	req.Header.Set("SessionToken", r.token.Reveal())
	resp = r.do(req)
	if got := atIMP(); resp.StatusCode != http.StatusOK || len(got) != 1 ||
		got[0].Header.Get("SessionToken") != upstream.Session.Reveal() {
		t.Errorf("status %d, the host got %v", resp.StatusCode, got)
	}
}

func TestOtherRequestsDoNotReachAFurtherHost(t *testing.T) {
	t.Parallel()
	imp, atIMP := newHost(t, nil)
	r := newRig(t, echo, func(c *gateway.Config) { c.Hosts = []gateway.Host{{"imp", imp}} })
	for target, status := range map[string]int{
		"/latchkey/hosts/imp": 404, "/latchkey/hosts/": 404, "/latchkey/hosts/IMP/x": 404, "/latchkey/hosts/other/x": 404,
		"/latchkey/hosts/im%70/x": 404, "/latchkey/hosts/imp%2fx": 400, "/latchkey/hosts/imp/../imp/x": 400,
		"/latchkey/hosts//imp/x":       400,
		"/latchkey/hosts/imp/%2e%2e/x": 400, "/latchkey/hosts/imp;a/x": 400, "/latchkey/hosts/imp@evil.example/x": 404,
		"/latchkey/hosts/imp/api/m2m/v1/session/login": 404, "/latchkey/hosts/imp/api/ts/v1/oauth2/token": 404,
		"/latchkey/hosts/imp/api/m2m/v1/session/logout": 404, "/latchkey/hosts/imp/API/auth/v1/m2m/v1/session/login": 404,
		"/latchkey/Hosts/imp/x": 404,
	} {
		if resp := r.get(target); resp.StatusCode != status {
			t.Errorf("%s: status %d, want %d", target, resp.StatusCode, status)
		}
	}
	req := r.request(http.MethodGet, "/latchkey/hosts/imp/x", http.NoBody)
	req.Header.Del("VZ-M2M-Token")
	if resp := r.do(req); resp.StatusCode != http.StatusBadRequest {
		t.Errorf("without a session: %d", resp.StatusCode)
	}
	req.Header.Del("Authorization")
	if resp := r.do(req); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("without a bearer: %d", resp.StatusCode)
	}
	if got := atIMP(); len(got) != 0 {
		t.Errorf("the host got %d requests", len(got))
	}
}

func TestTheHostHeaderSelectsAFurtherHost(t *testing.T) {
	t.Parallel()
	imp, atIMP := newHost(t, nil)
	name := strings.Replace(strings.TrimPrefix(imp, "http://"), "127.0.0.1", "localhost", 1)
	r := newRig(t, echo, func(c *gateway.Config) { c.Hosts = []gateway.Host{{"imp", "http://" + name}} })
	for host, there := range map[string]bool{
		name: true, strings.ToUpper(name): true, strings.Replace(name, ":", ".:", 1): true, strings.Replace(name, ":", "..:",
			1): false,
		"localhost": false, "localhost.": false, r.address: false, "localhost:1": false, "imp": false, name +
			".example.org": false, "user@" + name: false,
	} {
		req := r.request(http.MethodGet, "/api/v1/x?q=1", http.NoBody)
		req.Host = host
		resp, err := r.http.Do(req)
		if err != nil {
			if there {
				t.Errorf("%s: %v", host, err)
			}
			continue
		}
		_ = resp.Body.Close()
		got := atIMP()
		if there && (len(got) != 1 || got[0].RequestURI != "/api/v1/x?q=1" || got[0].Header["Sessiontoken"] == nil) ||
			!there && len(got) != 0 {
			t.Errorf("Host %s: status %d, the host got %v", host, resp.StatusCode, got)
		}
	}
	// The operations of the local API stay local, whatever the name.
	req := r.request(http.MethodPost, "/api/m2m/v1/session/logout", http.NoBody)
	req.Host = name
	if resp := r.do(req); resp.StatusCode != http.StatusOK || len(atIMP()) != 0 {
		t.Errorf("the logout: status %d", resp.StatusCode)
	}
}

func TestReferencesToAFurtherHostLeadToTheGateway(t *testing.T) {
	t.Parallel()
	var imp string
	imp, _ = newHost(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", strings.ReplaceAll(r.Header.Get("X-Say"), "IMP", imp))
	})
	r := newRig(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", strings.ReplaceAll(r.Header.Get("X-Say"), "IMP", imp))
	}, func(c *gateway.Config) { c.Hosts = []gateway.Host{{"imp", imp}} })
	for _, test := range []struct{ target, say, want string }{
		{"/latchkey/hosts/imp/a", "IMP/b?c#d", "/latchkey/hosts/imp/b?c#d"}, {"/latchkey/hosts/imp/a", "/b",
			"/latchkey/hosts/imp/b"},
		{"/latchkey/hosts/imp/a", "b", "b"}, {"/latchkey/hosts/imp/a", "/healthz", "/latchkey/hosts/imp/healthz"},
		{"/latchkey/hosts/imp/a", r.upstream.URL + "/api/b", "/api/b"}, {"/latchkey/hosts/imp/a",
			"/api/m2m/v1/session/logout", ""},
		{"/latchkey/hosts/imp/a", "IMP/../x", ""}, {"/latchkey/hosts/imp/a", "https://elsewhere.example/x",
			"https://elsewhere.example/x"},
		{"/api/a", "IMP/b", "/latchkey/hosts/imp/b"}, {"/api/a", "/api/b", "/api/b"}, {"/api/a", "/healthz", ""},
	} {
		req := r.request(http.MethodGet, test.target, http.NoBody)
		req.Header.Set("X-Say", test.say)
		if got := r.do(req).Header.Get("Location"); got != test.want {
			t.Errorf("%s returned %s: the caller got %q, want %q", test.target, test.say, got, test.want)
		}
	}
}

func TestInvalidFurtherHostsAreRefused(t *testing.T) {
	t.Parallel()
	k := newRig(t, echo, nil).keeper
	for name, hosts := range map[string][]gateway.Host{
		"a path": {{"imp", "http://127.0.0.1:1/x"}}, "no host": {{"imp", "https://"}}, "a user": {{"imp",
			"https://u@x.example"}},
		"a name": {{"Imp", "https://x.example"}}, "no name": {{"", "https://x.example"}}, "a slash": {{"a/b",
			"https://x.example"}},
		"twice": {{"a", "https://x.example"}, {"a", "https://y.example"}}, "one host twice": {{"a", "https://x.example"},
			{"b", "https://X.example:443"}},
		"the upstream": {{"a", "https://api.example:443"}},
	} {
		if _, err := gateway.New(gateway.Config{Keeper: k, URL: "https://api.example", Hosts: hosts}); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

// If the Host header names a further host, no reference leads to a path of the upstream,
// because the same path is one of the host then.
func TestReferencesLeadToTheHostThatTheyName(t *testing.T) {
	t.Parallel()
	var reference string
	imp, _ := newHost(t, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Location", reference) })
	name := strings.Replace(strings.TrimPrefix(imp, "http://"), "127.0.0.1", "localhost", 1)
	r := newRig(t, echo, func(c *gateway.Config) { c.Hosts = []gateway.Host{{"imp", "http://" + name}} })
	for _, c := range []struct{ reference, byPath, byName string }{
		{r.upstream.URL + "/api/x", "/api/x", ""},
		{"http://" + name + "/v1/y", "/latchkey/hosts/imp/v1/y", "/latchkey/hosts/imp/v1/y"},
		{"/v1/y", "/latchkey/hosts/imp/v1/y", "/latchkey/hosts/imp/v1/y"},
	} {
		reference = c.reference
		if got := r.get("/latchkey/hosts/imp/api/v1/x").Header.Get("Location"); got != c.byPath {
			t.Errorf("%s by path: %q, want %q", reference, got, c.byPath)
		}
		req := r.request(http.MethodGet, "/api/v1/x", http.NoBody)
		req.Host = name
		if got := r.do(req).Header.Get("Location"); got != c.byName {
			t.Errorf("%s by name: %q, want %q", reference, got, c.byName)
		}
	}
}
