package server_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/admin"
	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/wire"
)

const expired = "REQUEST_FAILED.SessionToken.Expired"

// renewed is tokens with an access token that is good now.
func (s *service) renewed(tokens []string) []string {
	s.t.Helper()
	return []string{"Authorization", s.bearer(), tokens[2], tokens[3]}
}

func TestSessionDiesAfterTwentyIdleMinutesAndSlidesOnUse(t *testing.T) {
	t.Parallel()
	s := start(t, setup{})
	used, unused := s.session(user, password), s.session(user, password)
	for range 12 { // four hours of use
		s.clock.advance(20*time.Minute - time.Millisecond)
		used = s.renewed(used)
		expect(t, "a check one millisecond before the idle timeout", s.verify(used), "ok")
	}
	expect(t, "the unused session", s.verify(s.renewed(unused)), expired)
	s.clock.advance(20 * time.Minute)
	used = s.renewed(used)
	expect(t, "a check at the idle timeout", s.verify(used), expired)
	s.clock.advance(-time.Minute) // and it stays dead, whatever the clock does
	expect(t, "a check once it was found dead", s.verify(used), expired)
	expect(t, "a logout of the dead session", s.do(sound, "POST", wire.PathLogOut, "", used...), expired)
	expect(t, "a reset of the dead session", s.reset(used, password), expired)
}

func TestEveryOperationOfASessionSlidesIt(t *testing.T) {
	t.Parallel()
	s := start(t, setup{})
	tokens := s.session(user, password)
	old := password
	for name, use := range map[string]func() reply{
		"session": func() reply { return s.do(sound, "GET", wire.PathSession, "", tokens...) },
		"verify":  func() reply { return s.verify(tokens) },
		"reset": func() reply {
			r := s.reset(tokens, old)
			old = r.field("newPassword")
			s.secrets = append(s.secrets, old)
			return r
		},
	} {
		s.clock.advance(19 * time.Minute)
		tokens = s.renewed(tokens)
		expect(t, name, use(), "ok")
	}
	s.clock.advance(19 * time.Minute)
	expect(t, "a check after nineteen more minutes", s.verify(s.renewed(tokens)), "ok")
}

func TestAbsoluteLifetimeEndsASessionInUse(t *testing.T) {
	t.Parallel()
	s := start(t, setup{policy: authority.Policy{Lifetime: 30 * time.Minute}})
	tokens := s.session(user, password)
	s.clock.advance(15 * time.Minute)
	expect(t, "a check within the lifetime", s.verify(tokens), "ok")
	var session wire.Session
	s.must(json.Unmarshal([]byte(s.do(sound, "GET", wire.PathSession, "", tokens...).body), &session))
	if session.ExpiresAt != "2026-11-23T09:30:00Z" {
		t.Errorf("the session ends at %q, want half past nine", session.ExpiresAt)
	}
	s.clock.advance(15 * time.Minute)
	expect(t, "a check at the end of the lifetime", s.verify(tokens), expired)
}

func TestSessionReturnsItsDetails(t *testing.T) {
	t.Parallel()
	s := start(t, setup{})
	tokens := s.session(user, password)
	s.clock.advance(5 * time.Minute)
	r := s.do(sound, "GET", wire.PathSession, "", tokens...)
	var got wire.Session
	s.must(json.Unmarshal([]byte(r.body), &got))
	token, _ := authority.ParseSessionToken(tokens[3])
	want := wire.Session{ID: token.Key().ID(), User: user, Client: apiKey, CreatedAt: "2026-11-23T09:00:00Z",
		IdleAfter: "2026-11-23T09:25:00Z"}
	if got != want {
		t.Errorf("the session is %+v, want %+v", got, want)
	}
	if strings.Contains(r.body, tokens[3]) {
		t.Error("the answer holds the session token")
	}
}

func TestVerifyIdentifiesTheCallerForEveryMethod(t *testing.T) {
	t.Parallel()
	s := start(t, setup{})
	tokens := s.session(user, password)
	token, _ := authority.ParseSessionToken(tokens[3])
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"} {
		request := func() reply { return s.do(sound, method, wire.PathVerify, "a body that sends nothing", tokens...) }
		if method == "PROPFIND" { // no OpenAPI document can name it
			request = func() reply {
				return s.rawUnchecked("PROPFIND " + wire.PathVerify + " HTTP/1.1\r\nHost: x\r\nAuthorization: " + tokens[1] +
					"\r\nVZ-M2M-Token: " + tokens[3] + "\r\n\r\n")
			}
		}
		r := request()
		if length := r.header.Get("Content-Length"); r.status != 200 || r.body != "" || length != "0" && method != "HEAD" {
			t.Errorf("%s returned %d %q with Content-Length %q, want 200 and nothing", method, r.status, r.body, length)
		}
		got := [4]string{r.header.Get(wire.HeaderUser), r.header.Get(wire.HeaderSessionID), r.header.Get(wire.HeaderClient),
			r.header.Get("Cache-Control")}
		if want := [4]string{user, token.Key().ID(), apiKey, "no-store"}; got != want {
			t.Errorf("%s is %q, want %q", method, got, want)
		}
	}
}

func TestVerifyRefusesWith401AndTheBodyOfTheAPI(t *testing.T) {
	t.Parallel()
	s := start(t, setup{})
	bearer := s.bearer()
	unknown := "bcce3ea6-fe4f-4952-bacf-eadd80718e83"
	for _, test := range []struct {
		tokens []string
		code   string
	}{
		{nil, wire.FaultNoBearer},
		{[]string{"Authorization", "Bearer x", wire.HeaderSessionToken, unknown}, wire.FaultInvalidBearer},
		{[]string{"Authorization", bearer}, "REQUEST_FAILED.SessionToken.Format"},
		{[]string{"Authorization", bearer, wire.HeaderSessionToken, "x"}, "INPUT_INVALID.SessionToken.Invalid"},
		{[]string{"Authorization", bearer, wire.HeaderSessionToken, unknown}, expired},
	} {
		verify := s.do(malformed, "GET", wire.PathVerify, "", test.tokens...)
		if verify.status != 401 || verify.code() != test.code {
			t.Errorf("with %v verify returned %d %s, want 401 %s", test.tokens, verify.status, verify.body, test.code)
		}
		if verify.header.Get(wire.HeaderUser) != "" || verify.header.Get("WWW-Authenticate") == "" ||
			verify.header.Get(wire.HeaderRequestID) == "" {
			t.Errorf("with %v the refusal has the headers %v", test.tokens, verify.header)
		}
		if api := s.do(malformed, "GET", wire.PathSession, "", test.tokens...); api.body != verify.body {
			t.Errorf("with %v verify returned %s, the API %s", test.tokens, verify.body, api.body)
		}
	}
}

// A name must not arrive as another user's: header values lose the spaces around them, and
// the encoding of bytes beyond ASCII is undefined.
func TestVerifyEncodesNamesThatHeadersWouldChange(t *testing.T) {
	t.Parallel()
	s := start(t, setup{})
	for name, want := range map[string]string{
		"zoe":         "zoe",
		"zoe ":        "zoe%20",
		" zoe":        "%20zoe",
		"zoé":         "zo%C3%A9",
		"50%25":       "50%2525",
		"a@b.example": "a@b.example",
	} {
		s.addUser(name, password)
		tokens := s.session(name, password)
		for range 2 { // once from scratch and once remembered
			if got := s.verify(tokens).header.Get(wire.HeaderUser); got != want {
				t.Errorf("the user %q arrives as %q, want %q", name, got, want)
			}
		}
	}
}

func TestVerifyDistinguishesSessions(t *testing.T) {
	t.Parallel()
	s := start(t, setup{})
	s.addUser("ford", password)
	of := map[string][]string{user: s.session(user, password), "ford": s.session("ford", password)}
	for range 3 {
		for name, tokens := range of {
			if got := s.verify(tokens).header.Get(wire.HeaderUser); got != name {
				t.Errorf("the session of %s is reported as one of %s", name, got)
			}
		}
	}
	var other admin.Credentials
	s.must(s.post(admin.PathClientAdd, admin.Label{Label: "another program"}, &other))
	s.secrets = append(s.secrets, other.Secret)
	token := s.do(sound, "POST", wire.PathToken, "grant_type=client_credentials", "Authorization",
		basic(other.Key, other.Secret), "Content-Type", wire.MediaTypeForm)
	tokens := []string{"Authorization", "Bearer " + token.field("access_token"), wire.HeaderSessionToken, of[user][3]}
	if got := s.verify(tokens).header.Get(wire.HeaderClient); got != other.Key {
		t.Errorf("the client is %s, want the one of the access token, %s", got, other.Key)
	}
}

func TestSessionTokenIsCheckedBeforeTheBody(t *testing.T) {
	t.Parallel()
	s := start(t, setup{})
	tokens := s.session(user, password)
	bearer := tokens[1]
	upper := strings.ToUpper(tokens[3])
	for _, test := range []struct {
		name   string
		tokens []string
		code   string
	}{
		{"absent", nil, "REQUEST_FAILED.SessionToken.Format"},
		{"empty", []string{wire.HeaderSessionToken, ""}, "REQUEST_FAILED.SessionToken.Format"},
		{"no GUID", []string{wire.HeaderSessionToken, "bcce3ea6fe4f4952bacfeadd80718e83"},
			"INPUT_INVALID.SessionToken.Invalid"},
		{"a GUID in braces", []string{wire.HeaderSessionToken, "{" + tokens[3] + "}"}, "INPUT_INVALID.SessionToken.Invalid"},
		{"twice", []string{wire.HeaderSessionToken, tokens[3], wire.HeaderSessionToken, tokens[3]},
			"INPUT_INVALID.SessionToken.Invalid"},
	} {
		for _, operation := range [][2]string{{"POST", wire.PathLogOut}, {"PUT", wire.PathResetPassword},
			{"GET", wire.PathSession}} {
			r := s.do(malformed, operation[0], operation[1], "not JSON",
				append([]string{"Authorization", bearer}, test.tokens...)...)
			if r.status != 400 || r.code() != test.code {
				t.Errorf("%s with the token %s returned %d %s, want 400 %s", operation[1], test.name, r.status, r.body, test.code)
			}
		}
	}
	expect(t, "a token in capitals", s.verify([]string{"Authorization", bearer, wire.HeaderSessionToken, upper}), "ok")
}
