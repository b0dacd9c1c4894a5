package authority_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/authority"
)

func TestRulesPermitWhatTheyMatchAndNothingElse(t *testing.T) {
	s := newService(t, nil)
	for _, c := range []struct {
		rules    string // with | between
		permit   string // requests with | between
		noPermit string
	}{
		{"", "GET /api/a|DELETE /api/x/y", ""},
		{"GET /api/m2m/v1/devices/**", "GET /api/m2m/v1/devices|GET /api/m2m/v1/devices/|GET /api/m2m/v1/devices/7/x",
			"POST /api/m2m/v1/devices/7|GET /api/m2m/v1/devicesx|GET /api/m2m/v1|GET /api/m2m/v1/Devices/7|" +
				"HEAD /api/m2m/v1/devices"},
		{"get,Post /api/a/*/c|* /api/z", "GET /api/a/b/c|POST /api/a/x/c|PATCH /api/z",
			"GET /api/a/c|GET /api/a//c|GET /api/a/b/d|GET /api/a/b/c/d|DELETE /api/a/b/c|GET /api/z/z"},
		{"GET /api/**", "GET /api/|GET /api/a/b/c", "POST /api/a"},
		{"GET /api/a", "GET /api/a", "GET /api/a/|GET /api/a/b|GET /api"},
	} {
		var rules []string
		if c.rules != "" {
			rules = strings.Split(c.rules, "|")
		}
		if err := s.SetAllow(t.Context(), "zaphod", rules, authority.Origin{}); err != nil {
			t.Fatal(err)
		}
		for want, requests := range map[bool]string{true: c.permit, false: c.noPermit} {
			if requests == "" {
				continue
			}
			for request := range strings.SplitSeq(requests, "|") {
				method, path, _ := strings.Cut(request, " ")
				if got, err := s.Permits(t.Context(), authority.Session{User: "zaphod"}, method, path); err != nil || got != want {
					t.Errorf("rules %q, request %q: permitted %v, error %v", c.rules, request, got, err)
				}
			}
		}
	}
	for _, bad := range []string{
		"GET", "GET /x", "/api/a", "GET /api/**/a", "GET /api//a", "G3T /api/a", "GET, /api/a", "GET,* /api/a",
		"GET /api/a b", "GET /api/a?b=c", "GET /api/a%20b", "GET /api/a/../b", "GET /api/./a", `GET /api/a\b`,
		"GET /api/a;b", "GET /api/" + strings.Repeat("a", 600),
	} {
		var invalid *authority.InvalidError
		if err := s.SetAllow(t.Context(), "zaphod", []string{bad}, authority.Origin{}); !errors.As(err, &invalid) {
			t.Errorf("rule %q: error %v, want that it is invalid", bad, err)
		}
	}
	if _, err := s.AddUser(t.Context(), "ford", "", authority.Origin{}, "GET"); err == nil {
		t.Error("a user was added with a rule that is none")
	}
	if may, err := s.Permits(t.Context(), authority.Session{User: "nobody"}, "GET", "/api/a"); err != nil || may {
		t.Errorf("a user who does not exist: permitted %v, error %v", may, err)
	}
}

// Another process removes a user, or changes the rules.
func TestRulesOfOthersAreNoticedSoon(t *testing.T) {
	var users authority.UserStore
	s := newService(t, func(c *authority.Config) { users = c.Stores.Users })
	if may, err := s.Permits(t.Context(), authority.Session{User: "zaphod"}, "GET", "/api/a"); err != nil || !may {
		t.Fatalf("permitted %v, error %v", may, err)
	}
	_, err := users.UpdateUser(t.Context(), "zaphod", func(u *authority.User) error { u.Allow = "GET /api/b"; return nil })
	if err != nil {
		t.Fatal(err)
	}
	s.advance(2 * time.Second)
	if may, err := s.Permits(t.Context(), authority.Session{User: "zaphod"}, "GET", "/api/a"); err != nil || may {
		t.Errorf("two seconds later: permitted %v, error %v", may, err)
	}
}
