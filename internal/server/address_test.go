package server_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/server"
	"github.com/latchkey/latchkey/internal/wire"
)

// lastAddress returns the address of the newest event.
func (s *service) lastAddress() string {
	s.t.Helper()
	events, err := s.authority.AuditEvents(s.t.Context(), authority.AuditQuery{Last: true, Limit: 1})
	s.must(err)
	return events[0].Address
}

func TestOnlyTrustedProxiesSetTheCallersAddress(t *testing.T) {
	t.Parallel()
	body := `{"username":"` + user + `","password":"` + password + `"}`
	services := map[string]*service{} // by the proxies that they trust
	for _, c := range []struct {
		trusted, header, want string
	}{
		{"", "203.0.113.7", "127.0.0.1"},
		{"10.0.0.0/8", "203.0.113.7", "127.0.0.1"},
		{"127.0.0.1/32", "", "127.0.0.1"},
		{"127.0.0.1/32", "203.0.113.7", "203.0.113.7"},
		{"127.0.0.1/32", "198.51.100.1, 203.0.113.7", "203.0.113.7"}, // the caller invented the first
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
		s := services[c.trusted]
		if s == nil {
			var proxies []netip.Prefix
			for text := range strings.FieldsSeq(c.trusted) {
				proxies = append(proxies, netip.MustParsePrefix(text))
			}
			s = start(t, setup{server: server.Config{TrustedProxies: proxies}})
			services[c.trusted] = s
		}
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

// An X-Forwarded-For of a trusted proxy that cannot be parsed is logged once, not for each
// request.
func TestAnXForwardedForThatCannotBeReadIsLoggedOnce(t *testing.T) {
	t.Parallel()
	proxies := []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	s := start(t, setup{alone: true, server: server.Config{TrustedProxies: proxies}})
	tokens := s.session(user, password)
	ask := func(headers ...string) { s.do(sound, "GET", wire.PathSession, "", append(headers, tokens...)...) }
	const warning = "X-Forwarded-For of a trusted proxy cannot be parsed"
	ask()
	ask("X-Forwarded-For", "203.0.113.7:80")
	if strings.Contains(s.log.String(), warning) {
		t.Fatalf("what can be read is complained of: %s", s.log)
	}
	for range 3 {
		ask("X-Forwarded-For", strings.Repeat("x", 1000)+", 198.51.100.1, unknown\u202e")
	}
	log := s.log.String()
	if n := strings.Count(log, warning); n != 1 {
		t.Errorf("it is logged %d times: %s", n, log)
	}
	if strings.Contains(log, "\u202e") || strings.Contains(log, strings.Repeat("x", 200)) ||
		!strings.Contains(log, "unknown") {
		t.Errorf("the value is shown as it is, or not at all: %s", log)
	}
}
