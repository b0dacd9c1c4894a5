package server_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/wire"
)

// The fuzz targets call the handler directly, because net/http would refuse many of their
// requests. Each derives the expected response from the contract. Every response must also
// match the OpenAPI document, and a refused request must change nothing.

// fuzzed sends a request to the handler.
func (s *service) fuzzed(t *testing.T, method, path, body string, header http.Header) reply {
	t.Helper()
	request := httptest.NewRequestWithContext(malformed, method, path, strings.NewReader(body))
	request.Header = header
	recorder := httptest.NewRecorder()
	s.server.Handler().ServeHTTP(recorder, request)
	answer := recorder.Result()
	if err := s.contract.Check(request, answer); err != nil {
		t.Errorf("%s %s returned %d: %v", method, path, answer.StatusCode, err)
	}
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	if answer.StatusCode >= 500 {
		t.Errorf("%s %s returned %d %s", method, path, answer.StatusCode, text)
	}
	return reply{answer.StatusCode, answer.Header, string(text)}
}

// newest is what each change is visible in, and quick to read.
func (s *service) newest(t *testing.T) string {
	t.Helper()
	ctx := context.Background()
	accounts, err := s.authority.Accounts(ctx, authority.UserQuery{})
	if err != nil {
		t.Fatal(err)
	}
	events, err := s.authority.AuditEvents(ctx, authority.AuditQuery{Last: true, Limit: 1})
	if err != nil {
		t.Fatal(err)
	}
	clients, err := s.authority.Clients(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%+v %+v %+v", accounts, events, clients)
}

// unchanged fails the test if anything has changed.
func (s *service) unchanged(t *testing.T, before string) {
	t.Helper()
	if after := s.newest(t); after != before {
		t.Errorf("it was refused and changed something:\n%s\n%s", before, after)
	}
}

func tokens(bearer, session string) http.Header {
	return http.Header{"Authorization": {bearer}, "Vz-M2m-Token": {session}}
}

// textFields returns the text fields of a JSON object, read token by token. Names are
// case-sensitive, and null counts as missing. For a body that cannot be parsed it returns
// the code of the error.
func textFields(body string, names ...string) (fields []string, code string) {
	if len(body) > wire.MaxRequestBodyBytes {
		return nil, unreadable
	}
	if body = strings.TrimPrefix(body, "\ufeff"); body == "" {
		return nil, undefined
	}
	if !utf8.ValidString(body) || !json.Valid([]byte(body)) || repeatsName(body) {
		return nil, unreadable
	}
	fields = make([]string, len(names))
	if strings.TrimSpace(body) == "null" {
		return fields, ""
	}
	decoder := json.NewDecoder(strings.NewReader(body))
	if open, err := decoder.Token(); err != nil || open != json.Delim('{') {
		return nil, unreadable
	}
	for decoder.More() {
		key, err := decoder.Token()
		var value any
		if err != nil || decoder.Decode(&value) != nil {
			return nil, unreadable
		}
		for i, name := range names {
			text, isText := value.(string)
			switch written, _ := key.(string); {
			case written != name, value == nil:
			case !isText:
				return nil, unreadable
			default:
				fields[i] = text
			}
		}
	}
	for _, field := range fields {
		if strings.ContainsRune(field, utf8.RuneError) {
			return nil, unreadable
		}
	}
	return fields, ""
}

// repeatsName reports whether an object in the JSON text has a name twice, level by
// level.
func repeatsName(text string) bool {
	var list []json.RawMessage
	if json.Unmarshal([]byte(text), &list) == nil {
		return slices.ContainsFunc(list, func(item json.RawMessage) bool { return repeatsName(string(item)) })
	}
	decoder := json.NewDecoder(strings.NewReader(text))
	if open, _ := decoder.Token(); open != json.Delim('{') {
		return false
	}
	seen := map[any]bool{}
	for decoder.More() {
		name, _ := decoder.Token()
		var value json.RawMessage
		if seen[name] || decoder.Decode(&value) != nil || repeatsName(string(value)) {
			return true
		}
		seen[name] = true
	}
	return false
}

// illegalText matches text that no field may hold.
var illegalText = regexp.MustCompile(`['<\\\x00-\x1f\x7f]`)

// codeOfField returns the code with which a field is refused, or "".
func codeOfField(text string, limit int) string {
	switch {
	case text == "":
		return unexpected
	case len(text) > limit:
		return unreadable
	case illegalText.MatchString(text):
		return illegal
	}
	return ""
}

func FuzzLoginBody(f *testing.F) {
	s := start(f, setup{})
	bearer := s.bearer()
	good := `{"username":"` + user + `","password":"` + password + `"}`
	for _, seed := range []string{
		"", good, `{"username":"zbeeblebrox","password":"IMgr8"}`, `{"username":"zbeeblebrox"}`,
		`{"password":null,"username":1}`,
		`{"USERNAME":"` + user + `","Password":"x","password":"` + password +
			`","more":[{}]}`, `{"username":"a<b","password":"\ud800"}`,
		`{"password":"x","p\u0061ssword":"` + password + `","username":"` + user + `"}`, `{"username":"` + user +
			`","password":"` + password + `","x":[{"y":1,"y":1}]}`,
		"null", "[]", " {} ", good + good, "\ufeff" + good, `{"username":"a","password":"\u0000"}`, "\xff",
		`{"username":"\u001f","password":"a"}`, `{"username":"a","password":"\u007f"}`,
		`{"username":"o'brien","password":"a\\b"}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		header := http.Header{"Authorization": {bearer}, "Content-Type": {wire.MediaTypeJSON}}
		before := s.newest(t)
		r := s.fuzzed(t, "POST", wire.PathLogIn, body, header)
		fields, want := textFields(body, "username", "password")
		if want == "" {
			want = codeOfField(fields[0], authority.MaxNameBytes)
		}
		if want == "" {
			want = codeOfField(fields[1], authority.MaxPasswordBytes)
		}
		switch refused := want != ""; {
		case refused:
			s.unchanged(t, before)
		case fields[0] == user && fields[1] == password:
			want = "ok"
		case r.code() == locked && fields[0] != user: // the fifth time that an unknown name occurs
			want = locked
		default:
			want = wrong
		}
		if r.code() != want {
			t.Errorf("%q returned %d %s, want %s", body, r.status, r.body, want)
		}
		again := s.fuzzed(t, "POST", wire.PathLogIn, good, header) // which takes the strike back
		if again.status != 200 {
			t.Fatalf("after %q the right password returned %d %s", body, again.status, again.body)
		}
	})
}

func FuzzResetBody(f *testing.F) {
	s := start(f, setup{})
	session := s.session(user, password)
	bearer, token := session[1], session[3]
	for _, seed := range []string{
		"", `{"oldPassword":"grflbk"}`, `{"oldPassword":"` + password + `"}`, `{"OLDPASSWORD":"` + password +
			`","x":{}}`, `{"oldPassword":1}`,
		`{"oldPassword":"x","oldPassword":null}`, `{"oldPassword":"it's"}`, "null", "[]", `{"oldPassword":"\udfff"}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		before := s.newest(t)
		r := s.fuzzed(t, "PUT", wire.PathResetPassword, body, tokens(bearer, token))
		fields, want := textFields(body, "oldPassword")
		if want == "" {
			want = codeOfField(fields[0], authority.MaxPasswordBytes)
		}
		holds := password
		switch refused := want != ""; {
		case refused:
			s.unchanged(t, before)
		case fields[0] == password:
			want, holds = "ok", r.field("newPassword")
		default:
			want = mismatch
		}
		if r.code() != want {
			t.Errorf("%q returned %d %s, want %s", body, r.status, r.body, want)
		}
		login := s.fuzzed(t, "POST", wire.PathLogIn, `{"username":"`+user+`","password":"`+holds+`"}`, tokens(bearer, token))
		if login.status != 200 {
			t.Fatalf("after %q the password that should hold returned %d %s", body, login.status, login.body)
		}
		if holds != password {
			if _, err := s.authority.SetPassword(context.Background(), user, password, authority.Origin{}); err != nil {
				t.Fatal(err)
			}
			login = s.fuzzed(t, "POST", wire.PathLogIn, `{"username":"`+user+`","password":"`+password+`"}`,
				tokens(bearer, token))
		}
		token = login.field("sessionToken")
	})
}

var guid = regexp.MustCompile(`^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$`)

func FuzzSessionTokenHeader(f *testing.F) {
	s := start(f, setup{})
	session := s.session(user, password)
	bearer, live := session[1], session[3]
	for _, seed := range []string{
		"", "bcce3ea6-fe4f-4952-bacf-eadd80718e83", "BCCE3EA6-FE4F-4952-BACF-EADD80718E83",
		"{bcce3ea6-fe4f-4952-bacf-eadd80718e83}",
		"bcce3ea6fe4f4952bacfeadd80718e83", "bcce3ea6-fe4f-4952-bacf-eadd80718e8g", " ",
		"urn:uuid:bcce3ea6-fe4f-4952-bacf-eadd80718e83",
	} {
		f.Add(seed, uint64(0), false)
		f.Add(seed, uint64(5), true)
	}
	f.Fuzz(func(t *testing.T, value string, capitals uint64, twice bool) {
		before := s.newest(t)
		want := expired
		if value == "" && !twice {
			want = "REQUEST_FAILED.SessionToken.Format"
		} else if twice || !guid.MatchString(value) {
			want = "INPUT_INVALID.SessionToken.Invalid"
		}
		for path, method := range map[string]string{
			wire.PathVerify: "GET", wire.PathSession: "GET", wire.PathLogOut: "POST", wire.PathResetPassword: "PUT",
		} {
			header := tokens(bearer, value)
			if twice {
				header["Vz-M2m-Token"] = []string{value, live}
			}
			if r := s.fuzzed(t, method, path, `{"oldPassword":"`+password+`"}`, header); r.code() != want {
				t.Errorf("%s with the token %q (twice: %v) returned %d %s, want %s", path, value, twice, r.status, r.body, want)
			}
		}
		s.unchanged(t, before)
		spelled := []byte(live)
		for i := range spelled {
			if capitals>>(i%64)&1 == 1 {
				spelled[i] = strings.ToUpper(live)[i]
			}
		}
		expect(t, "the live session, spelled "+string(spelled),
			s.fuzzed(t, "GET", wire.PathVerify, "", tokens(bearer, string(spelled))), "ok")
	})
}

// basicOf parses Basic credentials (RFC 7617).
func basicOf(value string) (name, secret string) {
	if len(value) < 6 || !strings.EqualFold(value[:6], "basic ") {
		return "", ""
	}
	plain, err := base64.StdEncoding.DecodeString(value[6:])
	if err != nil {
		return "", ""
	}
	name, secret, _ = strings.Cut(string(plain), ":")
	return name, secret
}

func FuzzAuthorizationHeader(f *testing.F) {
	s := start(f, setup{})
	session := s.session(user, password)
	good, body := basic(apiKey, apiSecret), "grant_type=client_credentials"
	for _, seed := range []string{
		"", good, "basic" + good[5:], basic(apiKey, ""), basic("", apiSecret), basic(apiKey+":",
			apiSecret), "Basic", "Basic ", "Basic !", good + "=",
		"Bearer", "Bearer ", "bearer x", "Bearer " + strings.Repeat("A", 54), "Digest x",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		before := s.newest(t)
		key, secret := basicOf(value)
		want := "invalid_client"
		if key == apiKey && secret == apiSecret {
			want = "ok"
		}
		for path, form := range map[string]string{wire.PathToken: body, wire.PathRevoke: "token=none"} {
			header := http.Header{"Authorization": {value}, "Content-Type": {wire.MediaTypeForm}}
			r := s.fuzzed(t, "POST", path, form, header)
			if r.code() != want || want != "ok" && r.header.Get("Www-Authenticate") == "" {
				t.Errorf("%s with %q returned %d %s, want %s", path, value, r.status, r.body, want)
			}
			header["Authorization"] = []string{value, good}
			expect(t, "two credentials", s.fuzzed(t, "POST", path, form, header), "invalid_client")
		}
		if !strings.Contains(value, session[1][len("Bearer "):]) {
			want = wire.FaultInvalidBearer
			if value == "" {
				want = wire.FaultNoBearer
			}
			expect(t, "a bearer of "+value, s.fuzzed(t, "GET", wire.PathVerify, "", tokens(value, session[3])), want)
		}
		s.unchanged(t, before)
	})
}
