package server_test

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/wire"
)

// formOf decodes a form as the URL standard does, but strictly. It returns false for a body
// that is not a form, and for a form that repeats a name.
func formOf(body string) (map[string]string, bool) {
	if len(body) > wire.MaxRequestBodyBytes {
		return nil, false
	}
	body = strings.TrimRight(strings.TrimPrefix(body, "\ufeff"), "\r\n")
	form := map[string]string{}
	for pair := range strings.SplitSeq(body, "&") {
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		name, well := unescaped(name)
		value, too := unescaped(value)
		if _, twice := form[name]; !well || !too || twice || strings.Contains(pair, ";") {
			return nil, false
		}
		form[name] = value
	}
	return form, true
}

var escape = regexp.MustCompile(`%[0-9A-Fa-f]{2}`)

func unescaped(text string) (string, bool) {
	text = strings.ReplaceAll(text, "+", " ")
	if strings.Contains(escape.ReplaceAllString(text, ""), "%") {
		return "", false
	}
	return escape.ReplaceAllStringFunc(text, func(code string) string {
		var b byte
		_, _ = fmt.Sscanf(code, "%%%02x", &b) // it matches
		return string([]byte{b})
	}), true
}

var scopes = regexp.MustCompile(`^[!#-\[\]-~]+( [!#-\[\]-~]+)*$`)

func FuzzForm(f *testing.F) {
	s := start(f, setup{})
	bearer := s.bearer()
	for _, seed := range []string{
		"grant_type=client_credentials", "grant_type=client_credentials&scope=a%20b",
		"grant_type=client_credentials&scope=+", "scope=x",
		"grant_type=password", "grant_type=client_credentials&grant_type=client_credentials",
		"grant%5Ftype=client_credentials&&", "token=x",
		"grant_type=client_credentials\r\n", "\ufeffgrant_type=client_credentials\n\r\ntoken=x\r", "token=%",
		"token=%41;token=2", "=", "token", "token=&scope=%22", "",
	} {
		f.Add(seed, wire.MediaTypeForm)
	}
	f.Add("grant_type=client_credentials", wire.MediaTypeForm+"; charset=utf-8")
	f.Add("grant_type=client_credentials", "application/json")
	f.Fuzz(func(t *testing.T, body, contentType string) {
		before := s.newest(t)
		bare, _, parameters := strings.Cut(contentType, ";")
		isForm := strings.EqualFold(strings.TrimSpace(bare), wire.MediaTypeForm)
		form, well := formOf(body)
		grant, token, scope := form["grant_type"], form["token"], form["scope"]
		issued, revoked := "ok", "ok"
		switch {
		case !isForm || !well || grant == "":
			issued = "invalid_request"
		case grant != wire.GrantTypeClient:
			issued = "unsupported_grant_type"
		case scope != "" && !scopes.MatchString(scope):
			issued = "invalid_scope"
		}
		if !isForm || !well || token == "" {
			revoked = "invalid_request"
		}
		for path, want := range map[string]string{wire.PathToken: issued, wire.PathRevoke: revoked} {
			header := http.Header{"Authorization": {basic(apiKey, apiSecret)}, "Content-Type": {contentType}}
			r := s.fuzzed(t, "POST", path, body, header)
			if r.code() == "invalid_request" && parameters {
				continue // its parameters may be what is wrong
			}
			if r.code() != want {
				t.Errorf("%s with %q as %q returned %d %s, want %s", path, body, contentType, r.status, r.body, want)
			}
			if got := r.field("scope"); r.code() == "ok" && path == wire.PathToken && got != scope && scope != "" {
				t.Errorf("the scope %q came back as %q", scope, got)
			}
		}
		s.unchanged(t, before)
		header := http.Header{"Authorization": {bearer}}
		expect(t, "the access token afterwards", s.fuzzed(t, "POST", wire.PathLogIn, "", header), undefined)
	})
}
