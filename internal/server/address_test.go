package server_test

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/server"
	"github.com/latchkey/latchkey/internal/wire"
)

// lastAddress is that of the newest event.
func (s *service) lastAddress() string {
	s.t.Helper()
	events, err := s.authority.AuditEvents(s.t.Context(), authority.AuditQuery{Last: true, Limit: 1})
	s.must(err)
	return events[0].Address
}

func TestTheCallersAddressIsWhatTrustedProxiesSayAndNobodyElse(t *testing.T) {
	body := `{"username":"` + user + `","password":"` + password + `"}`
	for _, c := range []struct {
		trusted, header, want string
	}{
		{"", "203.0.113.7", "127.0.0.1"},
		{"10.0.0.0/8", "203.0.113.7", "127.0.0.1"},
		{"127.0.0.1/32", "", "127.0.0.1"},
		{"127.0.0.1/32", "203.0.113.7", "203.0.113.7"},
		{"127.0.0.1/32", "198.51.100.1, 203.0.113.7", "203.0.113.7"}, // the first is the caller's own invention
		{"127.0.0.1/32 10.0.0.0/8", "198.51.100.1, 203.0.113.7, 10.1.2.3", "203.0.113.7"},
		{"127.0.0.1/32 10.0.0.0/8", "10.9.9.9, 10.1.2.3", "10.9.9.9"},
		{"127.0.0.1/32", "203.0.113.7, unknown", "127.0.0.1"},
		{"127.0.0.1/32", "203.0.113.7:80", "203.0.113.7"},
		{"127.0.0.1/32", "\"203.0.113.7:80\"", "203.0.113.7"},
		{"127.0.0.1/32", "[203.0.113.7]", "203.0.113.7"},
		{"127.0.0.1/32", "[2001:db8::1]", "2001:db8::1"},
		{"127.0.0.1/32", "[2001:db8::1]:443", "2001:db8::1"},
		{"127.0.0.1/32", "\"[2001:db8::1]:443\"", "2001:db8::1"},
		{"127.0.0.1/32", "\"2001:db8::1\"", "2001:db8::1"},
		{"127.0.0.1/32", "[::ffff:203.0.113.7]:443", "203.0.113.7"},
		{"127.0.0.1/32", "fe80::1%eth0", "fe80::1"},
		{"127.0.0.1/32", "[fe80::1%25eth0]:443", "fe80::1"},
		{"127.0.0.1/32", "198.51.100.1,\t203.0.113.7 ,, ", "203.0.113.7"},
		{"127.0.0.1/32", "198.51.100.1\n203.0.113.7:1", "203.0.113.7"}, // two lines
		{"127.0.0.1/32 10.0.0.0/8", "203.0.113.7:5, [::ffff:10.1.2.3]:6, \"10.1.2.4:7\"", "203.0.113.7"},
		{"::ffff:127.0.0.1/128 ::ffff:10.0.0.0/104", "203.0.113.7, 10.1.2.3", "203.0.113.7"},
		{"127.0.0.1/32", "_hidden", "127.0.0.1"},
		{"127.0.0.1/32", "unknown:80", "127.0.0.1"},
		{"127.0.0.1/32", "203.0.113.7:", "127.0.0.1"},
		{"127.0.0.1/32", "203.0.113.7:65536", "127.0.0.1"},
		{"127.0.0.1/32", "203.0.113.7:+8", "127.0.0.1"},
		{"127.0.0.1/32", "203.0.113.7:80:80", "127.0.0.1"},
		{"127.0.0.1/32", "[2001:db8::1", "127.0.0.1"},
		{"127.0.0.1/32", "[2001:db8::1]443", "127.0.0.1"},
		{"127.0.0.1/32", "\"203.0.113.7", "127.0.0.1"},
		{"127.0.0.1/32", "203.0.113.7 203.0.113.8", "127.0.0.1"},
		{"127.0.0.1/32", "0203.0.113.7", "127.0.0.1"},
		{"127.0.0.1/32", "for=203.0.113.7", "127.0.0.1"},
		{"127.0.0.1/32", "https://203.0.113.7", "127.0.0.1"},
		{"127.0.0.1/32", ", ,", "127.0.0.1"},
		{"127.0.0.1/32", "\"\"", "127.0.0.1"},
		{"127.0.0.0/8", "203.0.113.7" + strings.Repeat(", 127.0.0.9", 31), "203.0.113.7"},
		{"127.0.0.0/8", "203.0.113.7" + strings.Repeat(", 127.0.0.9", 400), "127.0.0.9"}, // too many hops
		{"127.0.0.1/32", "2001:db8::1", "2001:db8::1"},
		{"127.0.0.1/32", "::ffff:203.0.113.7", "203.0.113.7"},
	} {
		var proxies []netip.Prefix
		for text := range strings.FieldsSeq(c.trusted) {
			proxies = append(proxies, netip.MustParsePrefix(text))
		}
		s := start(t, setup{server: server.Config{TrustedProxies: proxies}})
		headers := []string{"Authorization", s.bearer(), "Content-Type", wire.MediaTypeJSON}
		for line := range strings.SplitSeq(c.header, "\n") {
			if line != "" {
				headers = append(headers, "X-Forwarded-For", line)
			}
		}
		r := s.do(sound, "POST", wire.PathLogIn, body, headers...)
		s.secrets = append(s.secrets, r.field("sessionToken"))
		expect(t, "the login", r, "ok")
		if got := s.lastAddress(); got != c.want {
			t.Errorf("trusted %q, X-Forwarded-For %q: the address is %s, want %s", c.trusted, c.header, got, c.want)
		}
	}
}

// What a trusted proxy says and cannot be read is logged, once and not for each
// request.
func TestAnXForwardedForThatCannotBeReadIsLoggedOnce(t *testing.T) {
	s := start(t, setup{server: server.Config{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}}})
	tokens := s.session(user, password)
	ask := func(headers ...string) { s.do(sound, "GET", wire.PathSession, "", append(headers, tokens...)...) }
	const complaint = "X-Forwarded-For of a trusted proxy cannot be read"
	ask()
	ask("X-Forwarded-For", "203.0.113.7:80")
	if strings.Contains(s.log.String(), complaint) {
		t.Fatalf("what can be read is complained of: %s", s.log)
	}
	for range 3 {
		ask("X-Forwarded-For", strings.Repeat("x", 1000)+", 198.51.100.1, unknown\u202e")
	}
	log := s.log.String()
	if n := strings.Count(log, complaint); n != 1 {
		t.Errorf("it is said %d times: %s", n, log)
	}
	if strings.Contains(log, "\u202e") || strings.Contains(log, strings.Repeat("x", 200)) || !strings.Contains(log, "unknown") {
		t.Errorf("the value is shown as it is, or not at all: %s", log)
	}
}

func TestProgramsOfThisMachineAreTrustedOnlyAsSaid(t *testing.T) {
	var carried int
	forward := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { carried++ })
	for name, c := range map[string]struct {
		trust, host string
		headers     []string
		carried     bool
	}{
		"as said":                  {user, "", nil, true},
		"under localhost":          {user, "localhost:8080", nil, true},
		"under ::1":                {user, "[::1]:8080", nil, true},
		"not switched on":          {"", "", nil, false},
		"nobody's name":            {"nobody", "", nil, false},
		"with a wrong bearer":      {user, "", []string{"Authorization", "Bearer x"}, false},
		"with half of credentials": {user, "", []string{wire.HeaderSessionToken, "00000000-0000-4000-8000-000000000000"}, false},
		"an empty bearer":          {user, "", []string{"Authorization", ""}, false},
		"a browser's page":         {user, "", []string{"Origin", "https://evil.example"}, false},
		"a browser":                {user, "", []string{"Sec-Fetch-Site", "cross-site"}, false},
		"a name of their choice":   {user, "evil.example", nil, false},
		"for somebody else":        {user, "", []string{"X-Forwarded-For", "203.0.113.7"}, false},
	} {
		s := start(t, setup{server: server.Config{Forward: forward, TrustLocal: c.trust}})
		carried = 0
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.address+"/api/m2m/v1/devices", http.NoBody)
		s.must(err)
		req.Host = c.host
		for i := 0; i < len(c.headers); i += 2 {
			req.Header.Set(c.headers[i], c.headers[i+1])
		}
		resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
		s.must(err)
		_ = resp.Body.Close()
		if (carried == 1) != c.carried || (resp.StatusCode == http.StatusOK) != c.carried {
			t.Errorf("%s: was answered %d, carried %d times", name, resp.StatusCode, carried)
		}
		s.must(s.post(wire.PathAdminUserDisable, wire.AdminName{Name: user}, nil))
		carried = 0
		resp, err = (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req.Clone(t.Context()))
		s.must(err)
		_ = resp.Body.Close()
		if carried != 0 {
			t.Errorf("%s: a disabled user was carried", name)
		}
	}
}

func TestProgramsOverAUnixSocketAreTrustedAsSaid(t *testing.T) {
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
		t.Errorf("was answered %d, carried %d times", got, carried)
	}
	if got := ask("/api/m2m/v1/devices", "Authorization", "Bearer wrong"); got != http.StatusUnauthorized || carried != 1 {
		t.Errorf("with a wrong bearer: %d, carried %d times", got, carried)
	}
	if got := ask("/latchkey/v1/session"); got != http.StatusUnauthorized {
		t.Errorf("what is not forwarded needs tokens there, too, and was answered %d", got)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm()&0o077 != 0 {
		t.Errorf("the socket: %v, error %v", info.Mode(), err)
	}
}
