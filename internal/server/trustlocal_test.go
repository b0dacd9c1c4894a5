package server_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/admin"
	"github.com/latchkey/latchkey/internal/server"
	"github.com/latchkey/latchkey/internal/wire"
)

func TestLocalProgramsAreTrustedOnlyWithTheHeader(t *testing.T) {
	t.Parallel()
	var carried int
	forward := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { carried++ })
	services := map[string]*service{}
	for _, trust := range []string{user, "nobody", ""} {
		services[trust] = start(t, setup{server: server.Config{Forward: forward, TrustLocal: trust}})
	}
	for name, c := range map[string]struct {
		trust, host string
		headers     []string
		carried     bool
	}{
		"the right header": {user, "", []string{wire.HeaderLocal, user}, true},
		"under localhost":  {user, "localhost:8080", []string{wire.HeaderLocal, user}, true},
		"under ::1":        {user, "[::1]:8080", []string{wire.HeaderLocal, user}, true},
		"with other headers": {user, "", []string{wire.HeaderLocal, user, "X-Request-Id", "7", "Accept", "*/*",
			"X-APIMatic-A", "b"}, true},
		"an empty name":             {"", "", []string{wire.HeaderLocal, ""}, false},
		"not switched on":           {"", "", []string{wire.HeaderLocal, user}, false},
		"an unknown user":           {"nobody", "", []string{wire.HeaderLocal, "nobody"}, false},
		"without the header":        {user, "", nil, false},
		"an empty header":           {user, "", []string{wire.HeaderLocal, ""}, false},
		"another user's name":       {user, "", []string{wire.HeaderLocal, "nobody"}, false},
		"a name in capitals":        {user, "", []string{wire.HeaderLocal, strings.ToUpper(user)}, false},
		"several names":             {user, "", []string{wire.HeaderLocal, user + ", " + user}, false},
		"the header twice":          {user, "", []string{wire.HeaderLocal, user, wire.HeaderLocal, user}, false},
		"the header spelled with _": {user, "", []string{"Latchkey_Local", user}, false},
		"both spellings":            {user, "", []string{wire.HeaderLocal, user, "Latchkey_Local", user}, false},
		"with a wrong bearer":       {user, "", []string{wire.HeaderLocal, user, "Authorization", "Bearer x"}, false},
		"with half of credentials": {user, "", []string{wire.HeaderLocal, user, wire.HeaderSessionToken,
			"00000000-0000-4000-8000-000000000000"}, false},
		"an empty bearer":             {user, "", []string{wire.HeaderLocal, user, "Authorization", ""}, false},
		"credentials in another form": {user, "", []string{wire.HeaderLocal, user, "Vz_M2m_Token", "x"}, false},
		"a browser's page":            {user, "", []string{wire.HeaderLocal, user, "Origin", "https://evil.example"}, false},
		"a page without an origin": {user, "", []string{wire.HeaderLocal, user, "Referer", "https://evil.example/"},
			false},
		"a browser":                {user, "", []string{wire.HeaderLocal, user, "Sec-Fetch-Site", "cross-site"}, false},
		"a browser's client hints": {user, "", []string{wire.HeaderLocal, user, "Sec-CH-UA", "x"}, false},
		"a name of their choice":   {user, "evil.example", []string{wire.HeaderLocal, user}, false},
		"a name that begins alike": {user, "127.0.0.1.evil.example", []string{wire.HeaderLocal, user}, false},
		"for another caller":       {user, "", []string{wire.HeaderLocal, user, "X-Forwarded-For", "203.0.113.7"}, false},
		"in another header":        {user, "", []string{wire.HeaderLocal, user, "X-Client-IP", "203.0.113.7"}, false},
		"in yet another":           {user, "", []string{wire.HeaderLocal, user, "X_Forwarded_Proto", "https"}, false},
		"by way of a proxy":        {user, "", []string{wire.HeaderLocal, user, "Via", "1.1 proxy"}, false},
		"verified by a proxy":      {user, "", []string{wire.HeaderLocal, user, wire.HeaderUser, user}, false},
	} {
		s := services[c.trust]
		carried = 0
		if got := s.askAsLocal(c.host, c.headers...); (carried == 1) != c.carried || (got == http.StatusOK) != c.carried {
			t.Errorf("%s: returned %d, forwarded %d times", name, got, carried)
		}
	}
	s := services[user]
	for want, headers := range map[string][]string{
		"its header for --trust-local is not accepted": {wire.HeaderLocal, user, "Via", "1.1 proxy"},
		"carries no access token. Send it as":          nil,
	} {
		if got := s.localBody(headers...); !strings.Contains(got, want) {
			t.Errorf("%q is refused with %s", headers, got)
		}
	}
	s.must(s.post(admin.PathUserDisable, admin.Name{Name: user}, nil))
	carried = 0
	if got := s.askAsLocal("", wire.HeaderLocal, user); got == http.StatusOK || carried != 0 {
		t.Errorf("a disabled user returned %d, forwarded %d times", got, carried)
	}
}

// askAsLocal sends a request without credentials to the rest of the API, and returns
// the status.
func (s *service) askAsLocal(host string, headers ...string) int {
	s.t.Helper()
	status, _ := s.sendAsLocal(host, headers...)
	return status
}

// localBody does the same, and returns the body.
func (s *service) localBody(headers ...string) string {
	s.t.Helper()
	_, body := s.sendAsLocal("", headers...)
	return body
}

func (s *service) sendAsLocal(host string, headers ...string) (status int, body string) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, "http://"+s.address+"/api/m2m/v1/devices",
		http.NoBody)
	s.must(err)
	req.Host = host
	for i := 0; i < len(headers); i += 2 {
		req.Header[headers[i]] = append(req.Header[headers[i]], headers[i+1])
	}
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	s.must(err)
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	s.must(err)
	return resp.StatusCode, string(text)
}

func TestProgramsOverAUnixSocketAreTrusted(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "local.sock")
	socket, err := server.ListenUnix(path)
	if err != nil {
		t.Fatal(err)
	}
	carried := 0
	forward := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { carried++ })
	s := start(t, setup{server: server.Config{Forward: forward, TrustLocal: user}, further: []net.Listener{socket}})
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		},
	}}
	ask := func(target string, headers ...string) int {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://any.name"+target, http.NoBody)
		s.must(err)
		for i := 0; i < len(headers); i += 2 {
			req.Header.Set(headers[i], headers[i+1])
		}
		resp, err := client.Do(req)
		s.must(err)
		_ = resp.Body.Close()
		return resp.StatusCode
	}
	if got := ask("/api/m2m/v1/devices"); got != http.StatusOK || carried != 1 {
		t.Errorf("returned %d, forwarded %d times", got, carried)
	}
	if got := ask("/api/m2m/v1/devices", wire.HeaderLocal, user); got != http.StatusOK || carried != 2 {
		t.Errorf("with the header returned %d, forwarded %d times", got, carried)
	}
	for _, headers := range [][]string{{wire.HeaderLocal, "nobody"}, {"X-Forwarded-For", "203.0.113.7"},
		{wire.HeaderUser, user}, {"Cookie", "a=b"}} {
		if got := ask("/api/m2m/v1/devices", headers...); got != http.StatusUnauthorized || carried != 2 {
			t.Errorf("with %q: %d, forwarded %d times", headers, got, carried)
		}
	}
	if got := ask("/api/m2m/v1/devices", "Authorization", "Bearer wrong"); got != http.StatusUnauthorized || carried != 2 {
		t.Errorf("with a wrong bearer: %d, forwarded %d times", got, carried)
	}
	if got := ask("/latchkey/v1/session"); got != http.StatusUnauthorized {
		t.Errorf("what is not forwarded needs tokens there, too, and returned %d", got)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm()&0o077 != 0 {
		t.Errorf("the socket: %v, error %v", info.Mode(), err)
	}
}

// TestAProxyOnThisMachineIsNotTrusted runs nginx as it comes, which sends a loopback
// Host and no header of its caller, and as docs/proxies.md configures it.
func TestAProxyOnThisMachineIsNotTrusted(t *testing.T) {
	t.Parallel()
	const asItComes = "location / {\n  proxy_pass http://127.0.0.1:8081;\n}\n"
	passing := strings.Replace(asItComes, "}", "proxy_http_version 1.1;\n}", 1)
	for name, c := range map[string]struct {
		location string // "": the printed one
		proxies  []netip.Prefix
		carried  int // of a request that forges the header
	}{
		"as it comes":           {location: asItComes},
		"as printed":            {},
		"that is a trusted one": {location: passing, proxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}},
		// The header is not a secret, so a proxy must remove it, as the help says.
		"that passes it on": {location: passing, carried: 1},
	} {
		t.Run(name, func(t *testing.T) {
			carried := 0
			forward := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { carried++ })
			s := start(t, setup{server: server.Config{Forward: forward, TrustLocal: user, TrustedProxies: c.proxies}})
			address := s.launch(t, "nginx", func(directory, address string) string {
				location := c.location
				if location == "" {
					location = s.printed("A proxy before a gateway with `--trust-local`", "", "")[0]
				}
				location = strings.Replace(location, "127.0.0.1:8081", s.address, 1)
				return proxies["nginx"].configure(t, directory, []string{"server {\nlisten " + address + ";\n" + location + "}\n"})
			})
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
			for _, forged := range []bool{false, true} {
				req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/api/m2m/v1/devices",
					http.NoBody)
				s.must(err)
				want := 0
				if forged {
					req.Header.Set(wire.HeaderLocal, user)
					want = c.carried
				}
				resp, err := client.Do(req)
				s.must(err)
				_ = resp.Body.Close()
				if carried != want || want == 0 && resp.StatusCode != http.StatusUnauthorized {
					t.Errorf("forged %v: returned %d, forwarded %d times", forged, resp.StatusCode, carried)
				}
			}
		})
	}
}
