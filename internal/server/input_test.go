package server_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/admin"
	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/wire"
)

const (
	undefined    = "INPUT_INVALID.RequestUndefined"
	unreadable   = "DeserializationFailed"
	unexpected   = "REQUEST_FAILED.UnexpectedError"
	illegal      = "INPUT_INVALID.Request.InvalidCharacter"
	formatOfBody = wire.MediaTypeJSON
)

// state is what invalid input must not change.
func (s *service) state() string {
	s.t.Helper()
	ctx := context.Background()
	accounts, err := s.authority.Accounts(ctx, authority.UserQuery{})
	s.must(err)
	sessions, err := s.authority.Sessions(ctx, authority.SessionQuery{Ended: true})
	s.must(err)
	events, err := s.authority.AuditEvents(ctx, authority.AuditQuery{Limit: 100_000})
	s.must(err)
	clients, err := s.authority.Clients(ctx)
	s.must(err)
	return fmt.Sprintf("%+v %+v %+v %d", accounts, clients, sessions, len(events))
}

func TestBadBodiesGetTheDocumentedCodeAndChangeNothing(t *testing.T) {
	t.Parallel()
	s := start(t, setup{})
	tokens := s.session(user, password)
	long := func(n int) string { return strings.Repeat("x", n) }
	login := func(name, password string) string {
		return fmt.Sprintf(`{"username":%q,"password":%q}`, name, password)
	}
	tests := []struct{ name, path, body, code string }{
		{"no body", wire.PathLogIn, "", undefined},
		{"white space", wire.PathLogIn, " \n", unreadable},
		{"no JSON", wire.PathLogIn, "username=a&password=b", unreadable},
		{"half an object", wire.PathLogIn, `{"username":"a","password":"b"`, unreadable},
		{"trailing garbage", wire.PathLogIn, login("a", "b") + "x", unreadable},
		{"two objects", wire.PathLogIn, login("a", "b") + login("a", "b"), unreadable},
		{"an array", wire.PathLogIn, `["a","b"]`, unreadable},
		{"a string", wire.PathLogIn, `"a"`, unreadable},
		{"a number for a name", wire.PathLogIn, `{"username":5,"password":"b"}`, unreadable},
		{"an object for a password", wire.PathLogIn, `{"username":"a","password":{}}`, unreadable},
		{"invalid UTF-8", wire.PathLogIn, "{\"username\":\"a\xff\",\"password\":\"b\"}", unreadable},
		{"half a surrogate pair", wire.PathLogIn, `{"username":"a","password":"\ud800"}`, unreadable},
		{"two byte order marks", wire.PathLogIn, "\ufeff\ufeff" + login("a", "b"), unreadable},
		{"a byte order mark and nothing", wire.PathLogIn, "\ufeff", undefined},
		{"UTF-16", wire.PathLogIn, "\xff\xfe{\x00}\x00", unreadable},
		{"a password twice", wire.PathLogIn, `{"username":"a","password":"b","password":"b"}`, unreadable},
		{"a password twice, one escaped", wire.PathLogIn, `{"username":"a","password":"b","p\u0061ssword":"c"}`, unreadable},
		{"an unknown name twice", wire.PathLogIn, `{"username":"a","password":"b","x":{"y":1,"y":2}}`, unreadable},
		{"names in another case", wire.PathLogIn, `{"Username":"a","Password":"b"}`, unexpected},
		{"a body over its bound", wire.PathLogIn, login("a", long(wire.MaxRequestBodyBytes)), unreadable},
		{"a name over its bound", wire.PathLogIn, login(long(authority.MaxNameBytes+1), "b"), unreadable},
		{"a password over its bound", wire.PathLogIn, login("a", long(authority.MaxPasswordBytes+1)), unreadable},
		{"deep nesting", wire.PathLogIn, strings.Repeat("[", 8000), unreadable},
		{"null", wire.PathLogIn, "null", unexpected},
		{"an empty object", wire.PathLogIn, "{}", unexpected},
		{"no name", wire.PathLogIn, `{"password":"b"}`, unexpected},
		{"no password", wire.PathLogIn, `{"username":"a"}`, unexpected},
		{"null for a password", wire.PathLogIn, `{"username":"a","password":null}`, unexpected},
		{"an empty name", wire.PathLogIn, login("", "b"), unexpected},
		{"an empty password", wire.PathLogIn, login("a", ""), unexpected},
		{"an apostrophe", wire.PathLogIn, login("o'brien", "b"), illegal},
		{"a less-than sign", wire.PathLogIn, login("a", "<script>"), illegal},
		{"a backslash", wire.PathLogIn, login(`a\b`, "b"), illegal},
		{"a line break", wire.PathLogIn, login("a\nb", "b"), illegal},
		{"a NUL", wire.PathLogIn, `{"username":"a","password":"\u0000"}`, illegal},
		{"a DEL", wire.PathLogIn, `{"username":"a\u007f","password":"b"}`, illegal},
		{"reset: no body", wire.PathResetPassword, "", undefined},
		{"reset: no JSON", wire.PathResetPassword, "old", unreadable},
		{"reset: a number", wire.PathResetPassword, `{"oldPassword":1}`, unreadable},
		{"reset: a name in another case", wire.PathResetPassword, `{"oldpassword":"x"}`, unexpected},
		{"reset: a password twice", wire.PathResetPassword, `{"oldPassword":"x","oldPassword":"x"}`, unreadable},
		{"reset: no password", wire.PathResetPassword, `{"password":"x"}`, unexpected},
		{"reset: an apostrophe", wire.PathResetPassword, `{"oldPassword":"it's"}`, illegal},
		{"reset: over its bound", wire.PathResetPassword, `{"oldPassword":"` + long(authority.MaxPasswordBytes+1) + `"}`,
			unreadable},
	}
	before := s.state()
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			method := "POST"
			if test.path == wire.PathResetPassword {
				method = "PUT"
			}
			r := s.do(malformed, method, test.path, test.body, append(tokens, "Content-Type", formatOfBody)...)
			if r.status != 400 || r.code() != test.code {
				t.Errorf("returned %d %s, want 400 %s", r.status, r.body, test.code)
			}
			for _, sent := range []string{"brien", "script", "xxxx"} {
				if strings.Contains(r.body, sent) {
					t.Errorf("the answer repeats the input: %s", r.body)
				}
			}
		})
	}
	if after := s.state(); after != before {
		t.Errorf("bad input changed something:\n%s\n%s", before, after)
	}
}

func TestALoginMayHaveAnyContentTypeAndUnknownFields(t *testing.T) {
	t.Parallel()
	s := start(t, setup{})
	bearer := s.bearer()
	for _, contentType := range []string{"", "text/plain", wire.MediaTypeForm, "application/json; charset=utf-8",
		"nonsense/"} {
		r := s.do(malformed, "POST", wire.PathLogIn, `{"extra":[1,{}],"username":"`+user+`","password":"`+password+`"}`,
			"Authorization", bearer, "Content-Type", contentType)
		expect(t, "a login as "+contentType, r, "ok")
	}
}

func TestALoginHasOneMeaning(t *testing.T) {
	t.Parallel()
	s := start(t, setup{})
	bearer := s.bearer()
	for name, body := range map[string]string{
		"another case of the same name": `{"username":"` + user + `","password":"` + password +
			`","Password":"a wrong one"}`,
		"another case, the other way round": `{"PASSWORD":"a wrong one","password":"` + password +
			`","UserName":"ford","username":"` + user + `"}`,
		"a byte order mark": "\ufeff" + `{"username":"` + user + `","password":"` + password + `"}`,
		"a huge number":     `{"n":1e99999,"username":"` + user + `","password":"` + password + `"}`,
		"escapes":           `{"\u0075sername":"` + user + `","password":"\u0049` + password[1:] + `"}`,
	} {
		expect(t, name, s.do(malformed, "POST", wire.PathLogIn, body, "Authorization", bearer), "ok")
	}
	if n := s.strikes(); n != 0 {
		t.Errorf("they cost %d strikes", n)
	}
}

func TestAnEncodedBodyIsRefusedAndChangesNothing(t *testing.T) {
	t.Parallel()
	s := start(t, setup{})
	tokens := s.session(user, password)
	client := []string{"Authorization", basic(apiKey, apiSecret), "Content-Type", wire.MediaTypeForm}
	before := s.state()
	for _, coding := range []string{"gzip", "GZIP", "br", "deflate, identity", "identity, gzip", "x-unknown"} {
		for path, headers := range map[string][]string{
			wire.PathLogIn: tokens[:2:2], wire.PathLogInAlias: tokens[:2:2], wire.PathResetPassword: tokens,
			wire.PathToken: client, wire.PathTokenAlias: client, wire.PathRevoke: client,
		} {
			method := "POST"
			if path == wire.PathResetPassword {
				method = "PUT"
			}
			r := s.do(malformed, method, path, "\x1f\x8b\x08", append(headers, "Content-Encoding", coding)...)
			if r.status != 415 || r.code() != "415" || r.header.Get("Accept-Encoding") != "identity" {
				t.Errorf("%s with %s returned %d %s", path, coding, r.status, r.body)
			}
		}
	}
	if after := s.state(); after != before {
		t.Errorf("an encoded body changed something:\n%s\n%s", before, after)
	}
	for _, coding := range []string{"", "identity", "Identity, identity"} {
		r := s.do(malformed, "POST", wire.PathLogIn, `{"username":"`+user+`","password":"`+password+`"}`, "Authorization",
			tokens[1], "Content-Encoding", coding)
		expect(t, "a login with the content coding "+coding, r, "ok")
	}
	expect(t, "a logout, whose body is ignored",
		s.do(malformed, "POST", wire.PathLogOut, "\x1f", append(tokens, "Content-Encoding", "gzip")...), "ok")
}

func TestATokenFormMayEndInLineBreaks(t *testing.T) {
	t.Parallel()
	s := start(t, setup{})
	for _, form := range []string{"grant_type=client_credentials\r\n", "grant_type=client_credentials&scope=\n",
		"\ufeffgrant_type=client_credentials"} {
		r := s.do(malformed, "POST", wire.PathToken, form, "Authorization", basic(apiKey, apiSecret), "Content-Type",
			wire.MediaTypeForm)
		expect(t, "a token by a form that ends in a line break", r, "ok")
		s.secrets = append(s.secrets, r.field("access_token"))
		form = "token=" + r.field("access_token") + "\r\n"
		r = s.do(malformed, "POST", wire.PathRevoke, form, "Authorization", basic(apiKey, apiSecret), "Content-Type",
			wire.MediaTypeForm)
		if r.status != 200 || r.header.Get(wire.HeaderRevokedToken) == "" {
			t.Errorf("the revocation by such a form returned %d %v", r.status, r.header)
		}
	}
}

func TestUnknownPathsAndMethodsAreFaults(t *testing.T) {
	t.Parallel()
	s := start(t, setup{})
	for _, path := range []string{"/", "/api", wire.PathLogIn + "/", "//api/m2m/v1/session/login", "/latchkey/v1/",
		admin.PathUsers, "/api/m2m/v1/session/login%00", "/healthz/x"} {
		r := s.do(sound, "GET", path, "")
		if r.status != 404 || r.code() != wire.FaultNotFound {
			t.Errorf("%s returned %d %s, want the fault 404", path, r.status, r.body)
		}
	}
	for path, allow := range map[string]string{
		wire.PathToken: "POST", wire.PathRevoke: "POST", wire.PathLogIn: "POST", wire.PathLogOut: "POST",
		wire.PathResetPassword: "PUT",
		wire.PathSession:       "GET, HEAD", wire.PathOpenAPI: "GET, HEAD", wire.PathHealth: "GET, HEAD",
		wire.PathReady: "GET, HEAD", wire.PathMetrics: "GET, HEAD",
	} {
		for _, method := range []string{"GET", "POST", "PUT", "DELETE"} {
			if strings.Contains(allow, method) {
				continue
			}
			r := s.do(sound, method, path, "")
			if got := strings.Join(r.header.Values("Allow"), ", "); r.status != 405 || r.code() != wire.FaultMethod ||
				got != allow {
				t.Errorf("%s %s returned %d %s with Allow %q, want the fault 405 with %q", method, path, r.status, r.body,
					got, allow)
			}
		}
	}
}

func TestHEADIsGETWithoutABody(t *testing.T) {
	t.Parallel()
	s := start(t, setup{})
	tokens := s.session(user, password)
	for _, path := range []string{wire.PathSession, wire.PathOpenAPI, wire.PathHealth, wire.PathReady, wire.PathMetrics} {
		if r := s.do(sound, "HEAD", path, "", tokens...); r.status != 200 || r.body != "" {
			t.Errorf("HEAD %s returned %d with %d bytes", path, r.status, len(r.body))
		}
	}
	if r := s.do(malformed, "HEAD", wire.PathSession, ""); r.status != 401 || r.body != "" {
		t.Errorf("HEAD without tokens returned %d with %d bytes", r.status, len(r.body))
	}
}

func TestRequestIDsAreAcceptedMadeAndLogged(t *testing.T) {
	t.Parallel()
	s := start(t, setup{})
	bearer := s.bearer()
	for sent, taken := range map[string]bool{
		"a-Request.1_2": true, strings.Repeat("a", 64): true,
		"": false, strings.Repeat("a", 65): false, "a b": false, "a\"b": false, "é": false, "a=b": false,
	} {
		r := s.do(malformed, "POST", wire.PathLogIn, `{"username":"`+user+`","password":"`+password+`"}`, "Authorization",
			bearer, wire.HeaderRequestID, sent)
		got := r.header.Get(wire.HeaderRequestID)
		if (got == sent) != taken || len(got) < 10 || len(got) > 64 {
			t.Errorf("the request ID %q was returned as %q; want it accepted: %v", sent, got, taken)
		}
		events, err := s.authority.AuditEvents(context.Background(), authority.AuditQuery{Last: true, Limit: 1})
		s.must(err)
		if events[0].RequestID != got || events[0].Client != apiKey || events[0].Address != "127.0.0.1" {
			t.Errorf("the audit trail has %+v, want the request ID %q, the client and the address", events[0], got)
		}
		if !strings.Contains(s.log.String(), "request="+got) {
			t.Errorf("the request ID %q is not in the log", got)
		}
	}
	r := s.do(malformed, "GET", wire.PathVerify, "", "Authorization", bearer, wire.HeaderSessionToken, "x",
		wire.HeaderRequestID, "mine-1")
	if got := r.header.Get(wire.HeaderRequestID); got != "mine-1" {
		t.Errorf("verify returned the request ID %q, want mine-1", got)
	}
}
