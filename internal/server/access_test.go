package server_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/wire"
)

func expiresIn(t *testing.T, r reply) int64 {
	t.Helper()
	var body wire.AccessToken
	if err := json.Unmarshal([]byte(r.body), &body); err != nil {
		t.Fatal(err)
	}
	return body.ExpiresIn
}

func TestAccessTokenStaysTheSameForItsHourAndCountsDown(t *testing.T) {
	t.Parallel()
	s := start(t, setup{})
	first := s.token()
	if got := expiresIn(t, first); got != 3600 {
		t.Errorf("a new token has %d seconds left, want 3600", got)
	}
	for _, step := range []struct {
		advance time.Duration
		left    int64
	}{{10 * time.Minute, 3000}, {500 * time.Millisecond, 2999}, {49*time.Minute + 58*time.Second, 1}, {time.Second, 1}} {
		s.clock.advance(step.advance)
		again := s.token()
		if again.field("access_token") != first.field("access_token") {
			t.Errorf("%v later, within the hour, another token was returned", step.advance)
		}
		if got := expiresIn(t, again); got != step.left {
			t.Errorf("%v later %d seconds are left, want %d", step.advance, got, step.left)
		}
	}
	tokens := s.session(user, password)
	expect(t, "a check just before the hour is over", s.verify(tokens), "ok")
	s.clock.advance(500 * time.Millisecond)
	expect(t, "a check when the hour is over", s.verify(tokens), wire.FaultInvalidBearer)
	next := s.token()
	if next.field("access_token") == first.field("access_token") || expiresIn(t, next) != 3600 {
		t.Errorf("after the hour the token is %s, want a new one", next.body)
	}
}

func TestRevokeEndsTheLiveTokenOnly(t *testing.T) {
	t.Parallel()
	s := start(t, setup{})
	revoke := func(token string) reply {
		return s.do(sound, "POST", wire.PathRevoke, "token="+token,
			"Authorization", basic(apiKey, apiSecret), "Content-Type", wire.MediaTypeForm)
	}
	tokens := s.session(user, password)
	live := s.token().field("access_token")
	for _, other := range []string{"nonsense", live + "x", strings.Repeat("A", len(live)), "%0d%0aInjected:+1"} {
		r := revoke(other)
		if r.status != 200 || r.body != "" || r.header.Values(wire.HeaderRevokedToken) != nil ||
			r.header.Get("Injected") != "" {
			t.Errorf("revoking %q returned %d %v %q", other, r.status, r.header, r.body)
		}
	}
	expect(t, "a check after other tokens were revoked", s.verify(tokens), "ok")
	if r := revoke(live); r.status != 200 || r.body != "" || r.header.Get(wire.HeaderRevokedToken) != live {
		t.Errorf("revoking the live token returned %d %v %q", r.status, r.header, r.body)
	}
	expect(t, "a check after the token was revoked", s.verify(tokens), wire.FaultInvalidBearer)
	if r := revoke(live); r.status != 200 || r.header.Values(wire.HeaderRevokedToken) != nil {
		t.Errorf("revoking it again returned %d %v", r.status, r.header)
	}
	next := s.token()
	if next.field("access_token") == live || expiresIn(t, next) != 3600 {
		t.Errorf("after the revocation the token is %s, want a new one", next.body)
	}
	// The session continues under the new access token.
	tokens[1] = "Bearer " + next.field("access_token")
	expect(t, "the session under the new access token", s.verify(tokens), "ok")
}

func TestTokenEndpointRefusesWhatRFC6749Refuses(t *testing.T) {
	t.Parallel()
	s := start(t, setup{})
	good := basic(apiKey, apiSecret)
	tests := []struct{ name, authorization, contentType, body, code string }{
		{"no credentials", "", wire.MediaTypeForm, "grant_type=client_credentials", "invalid_client"},
		{"credentials in the body", "", wire.MediaTypeForm,
			"grant_type=client_credentials&client_id=" + apiKey + "&client_secret=" + apiSecret, "invalid_client"},
		{"a bearer", "Bearer x", wire.MediaTypeForm, "grant_type=client_credentials", "invalid_client"},
		{"a wrong secret", basic(apiKey, "wrong"), wire.MediaTypeForm, "grant_type=client_credentials", "invalid_client"},
		{"an unknown key", basic("nobody", apiSecret), wire.MediaTypeForm, "grant_type=client_credentials", "invalid_client"},
		{"no secret", basic(apiKey, ""), wire.MediaTypeForm, "grant_type=client_credentials", "invalid_client"},
		{"credentials that are not base64", "Basic %%%", wire.MediaTypeForm, "grant_type=client_credentials",
			"invalid_client"},
		{"no body", good, wire.MediaTypeForm, "", "invalid_request"},
		{"no content type", good, "", "grant_type=client_credentials", "invalid_request"},
		{"JSON", good, wire.MediaTypeJSON, `{"grant_type":"client_credentials"}`, "invalid_request"},
		{"a content type that cannot be read", good, "application/", "grant_type=client_credentials", "invalid_request"},
		{"a broken escape", good, wire.MediaTypeForm, "grant_type=%zz", "invalid_request"},
		{"a semicolon", good, wire.MediaTypeForm, "grant_type=client_credentials;scope=a", "invalid_request"},
		{"a repeated parameter", good, wire.MediaTypeForm, "grant_type=client_credentials&grant_type=client_credentials",
			"invalid_request"},
		{"a repeated unknown parameter", good, wire.MediaTypeForm, "grant_type=client_credentials&x=1&x=2",
			"invalid_request"},
		{"an empty grant", good, wire.MediaTypeForm, "grant_type=", "invalid_request"},
		{"another grant", good, wire.MediaTypeForm, "grant_type=password&username=a&password=b", "unsupported_grant_type"},
		{"an unreal grant", good, wire.MediaTypeForm, "grant_type=CLIENT_CREDENTIALS", "unsupported_grant_type"},
		{"a scope with a quote", good, wire.MediaTypeForm, `grant_type=client_credentials&scope=a"b`, "invalid_scope"},
		{"a scope with two spaces", good, wire.MediaTypeForm, "grant_type=client_credentials&scope=a++b", "invalid_scope"},
		{"a scope with a line break", good, wire.MediaTypeForm, "grant_type=client_credentials&scope=a%0ab", "invalid_scope"},
		{"a body over its bound", good, wire.MediaTypeForm,
			"grant_type=client_credentials&x=" + strings.Repeat("x", wire.MaxRequestBodyBytes), "invalid_request"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var headers []string
			if test.authorization != "" {
				headers = append(headers, "Authorization", test.authorization)
			}
			if test.contentType != "" {
				headers = append(headers, "Content-Type", test.contentType)
			}
			r := s.do(malformed, "POST", wire.PathToken, test.body, headers...)
			expect(t, "it", r, test.code)
			wantStatus, wantChallenge := 400, ""
			if test.code == "invalid_client" {
				wantStatus, wantChallenge = 401, `Basic realm="latchkey", charset="UTF-8"`
			}
			if got := r.header.Get("WWW-Authenticate"); r.status != wantStatus || got != wantChallenge {
				t.Errorf("status %d, WWW-Authenticate %q; want %d, %q", r.status, got, wantStatus, wantChallenge)
			}
			if r.header.Get("Cache-Control") != "no-store" {
				t.Error("the answer may be cached")
			}
		})
	}
	two := s.do(malformed, "POST", wire.PathToken, "grant_type=client_credentials",
		"Authorization", good, "Authorization", good, "Content-Type", wire.MediaTypeForm)
	expect(t, "two Authorization headers", two, "invalid_client")
	if clients, err := s.authority.Clients(sound); err != nil || clients[0].TokenSerial != 0 {
		t.Errorf("after refusals only, the client's token serial is %d (%v), want 0", clients[0].TokenSerial, err)
	}
	noToken := s.do(malformed, "POST", wire.PathRevoke, "token=", "Authorization", good, "Content-Type",
		wire.MediaTypeForm)
	expect(t, "a revocation of nothing", noToken, "invalid_request")
}

func TestTheRequestedScopeIsReturned(t *testing.T) {
	t.Parallel()
	s := start(t, setup{})
	for form, want := range map[string]string{
		"grant_type=client_credentials":                               "default",
		"grant_type=client_credentials&scope=":                        "default",
		"grant_type=client_credentials&scope=ts.application.ro":       "ts.application.ro",
		"scope=a+b%2Fc&grant_type=client_credentials&unknown=ignored": "a b/c",
	} {
		r := s.do(sound, "POST", wire.PathToken, form, "Authorization", basic(apiKey, apiSecret), "Content-Type",
			wire.MediaTypeForm+"; charset=UTF-8")
		if r.status != 200 || r.field("scope") != want {
			t.Errorf("%s returned %d %s, want the scope %q", form, r.status, r.body, want)
		}
	}
}

func TestBearerIsCheckedFirst(t *testing.T) {
	t.Parallel()
	s := start(t, setup{})
	good := s.bearer()
	tests := []struct {
		name    string
		headers []string
		code    string
	}{
		{"none", nil, wire.FaultNoBearer},
		{"an empty one", []string{"Authorization", ""}, wire.FaultNoBearer},
		{"Basic", []string{"Authorization", basic(apiKey, apiSecret)}, wire.FaultInvalidBearer},
		{"the scheme alone", []string{"Authorization", "Bearer"}, wire.FaultInvalidBearer},
		{"nonsense", []string{"Authorization", "Bearer nonsense"}, wire.FaultInvalidBearer},
		{"no space", []string{"Authorization", strings.Replace(good, " ", "", 1)}, wire.FaultInvalidBearer},
		{"a token with a change", []string{"Authorization", good[:len(good)-2] + "A" + good[len(good)-1:]},
			wire.FaultInvalidBearer},
		{"a token and more", []string{"Authorization", good + " x"}, wire.FaultInvalidBearer},
		{"two headers", []string{"Authorization", good, "Authorization", good}, wire.FaultInvalidBearer},
	}
	for _, test := range tests {
		for _, operation := range [][2]string{{"POST", wire.PathLogIn}, {"POST", wire.PathLogOut},
			{"PUT", wire.PathResetPassword}, {"GET", wire.PathSession}, {"GET", wire.PathVerify}} {
			r := s.do(malformed, operation[0], operation[1], "not JSON", test.headers...)
			if r.status != 401 || r.code() != test.code || r.header.Get("WWW-Authenticate") == "" {
				t.Errorf("%s with %s returned %d %s, want 401 %s", operation[1], test.name, r.status, r.body, test.code)
			}
		}
	}
	lower := s.do(sound, "POST", wire.PathLogIn, `{"username":"`+user+`","password":"`+password+`"}`,
		"Authorization", "bearer  "+strings.TrimPrefix(good, "Bearer "), "Content-Type", wire.MediaTypeJSON)
	expect(t, "a scheme in lower case and two spaces", lower, "ok")
}
