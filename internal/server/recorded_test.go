package server_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/server"
	"github.com/latchkey/latchkey/internal/wire"
)

// raw sends bytes over a new connection and reads one response, for requests that no client
// library would send. The response must match the contract; the request need not.
func (s *service) raw(request string) reply {
	s.t.Helper()
	conn, err := net.Dial("tcp", s.address)
	s.must(err)
	defer func() { _ = conn.Close() }()
	_, err = io.WriteString(conn, request)
	s.must(err)
	// Only the method and the path of the request are parsed; anything may follow.
	line, _, _ := strings.Cut(request, "\r\n")
	parsed, err := http.ReadRequest(bufio.NewReader(strings.NewReader(line + "\r\nHost: x\r\n\r\n")))
	s.must(err)
	response, err := http.ReadResponse(bufio.NewReader(conn), parsed)
	s.must(err)
	if err := s.contract.Check(parsed.WithContext(malformed), response); err != nil {
		s.t.Errorf("%s returned %d: %v", line, response.StatusCode, err)
	}
	text, err := io.ReadAll(response.Body)
	s.must(err)
	return reply{response.StatusCode, response.Header, string(text)}
}

// recorded returns a request as the vendor's SDK sends it: with header names in lower case
// and in its order.
func recorded(method, path string, headers, body string) string {
	return method + " " + path + " HTTP/1.1\r\n" + headers +
		"accept: application/json\r\nuser-agent: APIMATIC 3.0\r\nhost: thingspace.verizon.com\r\n" +
		"content-length: " + strconv.Itoa(len(body)) + "\r\nconnection: close\r\n\r\n" + body
}

// The requests are those that two releases of the vendor's own SDK were recorded
// sending (docs/contract.md).
func TestRecordedRequestsOfTheVendorsSDKAreAccepted(t *testing.T) {
	t.Parallel()
	s := start(t, setup{})
	s.addUser("grflbk-user", "grflbk")
	const form, json = "content-type: application/x-www-form-urlencoded\r\n", "content-type: application/json\r\n"
	guid := regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

	token := s.raw(recorded("POST", wire.PathToken, "authorization: "+basic(apiKey, apiSecret)+"\r\n"+form,
		"grant_type=client_credentials"))
	if token.status != 200 || token.field("access_token") == "" || token.field("token_type") != "Bearer" ||
		token.field("scope") != "default" {
		t.Fatalf("the token request returned %d %s", token.status, token.body)
	}
	if got := token.header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("the token may be cached: Cache-Control %q", got)
	}
	bearer := "authorization: Bearer " + token.field("access_token") + "\r\n"

	for _, idempotency := range []string{"", "idempotency-key: 0d3f1c9a-7a3e-4a52-8f0e-1f0f5a7c9b11\r\n"} {
		login := s.raw(recorded("POST", wire.PathLogIn, bearer+idempotency+json,
			`{"username":"`+user+`","password":"`+password+`"}`))
		session := login.field("sessionToken")
		if login.status != 200 || !guid.MatchString(session) {
			t.Fatalf("the login returned %d %s", login.status, login.body)
		}
		withSession := bearer + "vz-m2m-token: " + session + "\r\n"
		logout := s.raw(recorded("POST", wire.PathLogOut, withSession+idempotency+form, ""))
		if logout.status != 200 || logout.body != `{"sessionToken":"`+session+`"}` {
			t.Errorf("the logout returned %d %s", logout.status, logout.body)
		}
		again := s.raw(recorded("POST", wire.PathLogOut, withSession+idempotency+form, ""))
		expect(t, "a second logout", again, "REQUEST_FAILED.SessionToken.Expired")
	}

	expect(t, "a login without a body", s.raw(recorded("POST", wire.PathLogIn, bearer+json, "")),
		"INPUT_INVALID.RequestUndefined")

	login := s.raw(recorded("POST", wire.PathLogIn, bearer+json, `{"username":"grflbk-user","password":"grflbk"}`))
	withSession := bearer + "vz-m2m-token: " + login.field("sessionToken") + "\r\n"
	reset := s.raw(recorded("PUT", wire.PathResetPassword, withSession+json, `{"oldPassword":"grflbk"}`))
	if reset.status != 200 || !regexp.MustCompile(`^[A-Za-z0-9]{20}$`).MatchString(reset.field("newPassword")) {
		t.Fatalf("the reset returned %d %s", reset.status, reset.body)
	}
	s.secrets = append(s.secrets, reset.field("newPassword"))

	revoke := s.raw(recorded("POST", wire.PathRevoke, "authorization: "+basic(apiKey, apiSecret)+"\r\n"+form,
		// as published; TestResponseHeadersAre… sends RFC 7009's form
		"grant_type=client_credentials&token="+token.field("access_token")))
	if revoke.status != 200 || revoke.body != "" ||
		revoke.header.Get(wire.HeaderRevokedToken) != token.field("access_token") {
		t.Errorf("the revocation returned %d %v %q", revoke.status, revoke.header, revoke.body)
	}
}

// dialect is how one of the vendor's SDKs, or a program in that language, writes its
// requests.
type dialect struct {
	name     string
	headers  string // of every request
	json     string // the content type of a JSON body, as a header line
	empty    string // that of a request without a body
	form     string // the body that asks for a token
	blanks   bool   // JSON as Python writes it: with blanks and escapes
	chunked  bool
	spelling func(string) string // of header names
}

func asWritten(name string) string { return name }

// Recorded from the vendor's SDKs, each unmodified, over TLS (docs/contract.md).
var dialects = []dialect{
	{name: "TypeScript 1.7.0", headers: "accept: application/json\r\nuser-agent: APIMATIC 3.0\r\nconnection: close\r\n",
		json: "application/json", empty: wire.MediaTypeForm, form: "grant_type=client_credentials",
		spelling: strings.ToLower},
	{name: "TypeScript, August 2026", headers: "accept: application/json\r\nuser-agent: Typescript-SDK\r\n" +
		"x-apimatic-trace-id: 1\r\n" +
		"accept-encoding: gzip, compress, deflate, br\r\nconnection: keep-alive\r\n",
		json: "application/json", form: "grant_type=client_credentials", spelling: strings.ToLower},
	{name: "Python 1.7.0", headers: "User-Agent: Python-SDK\r\nAccept-Encoding: gzip, deflate\r\n" +
		"Accept: application/json\r\nConnection: keep-alive\r\n",
		json: "application/json; charset=utf-8", form: "grant_type=client_credentials&scope=", blanks: true,
		spelling: asWritten},
	{name: "Java 1.7.0", headers: "Accept: application/json\r\nUser-Agent: Java-SDK\r\nX-APIMatic-Engine: 3\r\n" +
		"Connection: Keep-Alive\r\nAccept-Encoding: gzip\r\n",
		json: "application/json; charset=utf-8", form: "grant_type=client_credentials", spelling: http.CanonicalHeaderKey},
	{name: "PHP 1.7.0", headers: "Accept: application/json\r\nuser-agent: PHP-SDK\r\nExpect:\r\n" +
		"Accept-Encoding: deflate, gzip, br, zstd\r\n",
		json: "application/json", form: "grant_type=client_credentials\r\n", spelling: asWritten},
	{name: "Go, generated", headers: "User-Agent: Go-http-client/1.1\r\nAccept-Encoding: gzip\r\n",
		json: "application/json", form: "grant_type=client_credentials&scope=", chunked: true, spelling: strings.ToUpper},
}

// write writes a request. A header is two elements of headers.
func (d dialect) write(method, path, contentType, body string, headers ...string) string {
	var b strings.Builder
	line := func(name, value string) { b.WriteString(d.spelling(name) + ": " + value + "\r\n") }
	b.WriteString(method + " " + path + " HTTP/1.1\r\nHost: thingspace.verizon.com\r\n" + d.headers)
	for i := 0; i < len(headers); i += 2 {
		line(headers[i], headers[i+1])
	}
	if contentType != "" {
		line("Content-Type", contentType)
	}
	if d.chunked && body != "" {
		half := len(body) / 2
		line("Transfer-Encoding", "chunked")
		fmt.Fprintf(&b, "\r\n%x\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n", half, body[:half], len(body)-half, body[half:])
		return b.String()
	}
	line("Content-Length", strconv.Itoa(len(body)))
	return b.String() + "\r\n" + body
}

// object writes a JSON object of one or two texts.
func (d dialect) object(pairs ...string) string {
	var fields []string
	for i := 0; i < len(pairs); i += 2 {
		value := strconv.QuoteToASCII(pairs[i+1])
		if d.blanks {
			fields = append(fields, fmt.Sprintf("%q: %s", pairs[i], value))
			continue
		}
		fields = append(fields, fmt.Sprintf("%q:%q", pairs[i], pairs[i+1]))
	}
	separator := ","
	if d.blanks {
		separator = ", "
	}
	return "{" + strings.Join(fields, separator) + "}"
}

func TestEverySDKWorksUnmodifiedAtEitherPath(t *testing.T) {
	t.Parallel()
	const name, secret = "zoë-☃", "Wh0a-é-longer"
	for _, d := range dialects {
		for _, at := range []struct{ token, logIn, logOut, reset string }{
			{wire.PathToken, wire.PathLogIn, wire.PathLogOut, wire.PathResetPassword},
			{wire.PathTokenAlias, wire.PathLogInAlias, wire.PathLogOutAlias, wire.PathResetPasswordAlias},
		} {
			t.Run(d.name+" at "+at.logIn, func(t *testing.T) {
				s := start(t, setup{})
				s.addUser(name, secret)
				client := []string{"Authorization", basic(apiKey, apiSecret)}
				token := s.raw(d.write("POST", at.token, wire.MediaTypeForm, d.form, client...))
				expect(t, "the token", token, "ok")
				bearer := []string{"Authorization", "Bearer " + token.field("access_token")}
				s.secrets = append(s.secrets, secret, token.field("access_token"))
				expect(t, "a login without a body", s.raw(d.write("POST", at.logIn, d.empty, "", bearer...)),
					"INPUT_INVALID.RequestUndefined")
				logIn := func(password string) reply {
					return s.raw(d.write("POST", at.logIn, d.json, d.object("username", name, "password", password), bearer...))
				}
				expect(t, "a wrong password", logIn("a wrong one"), wrong)
				login := logIn(secret)
				expect(t, "the login", login, "ok")
				tokens := append(bearer[:2:2], "VZ-M2M-Token", login.field("sessionToken"))
				for range 2 { // the transport repeats a PUT
					expect(t, "a mistyped old password", s.raw(d.write("PUT", at.reset, d.json,
						d.object("oldPassword", "a wrong one"), tokens...)), mismatch)
				}
				made := ""
				for range 4 { // one Idempotency-Key over all retries of a call
					reset := s.raw(d.write("PUT", at.reset, d.json, d.object("oldPassword", secret),
						append(tokens[:4:4], "Idempotency-Key", "0d3f1c9a-7a3e-4a52-8f0e-1f0f5a7c9b11")...))
					expect(t, "the reset", reset, "ok")
					if next := reset.field("newPassword"); made != "" && next != made {
						t.Error("a retry of the reset returned another password")
					}
					made = reset.field("newPassword")
				}
				s.secrets = append(s.secrets, made)
				logout := s.raw(d.write("POST", at.logOut, d.empty, "", tokens...))
				expect(t, "the logout", logout, "ok")
				if logout.field("sessionToken") != login.field("sessionToken") {
					t.Errorf("the logout returned %s", logout.body)
				}
				expect(t, "the new password", logIn(made), "ok")
				form := "grant_type=client_credentials&token=" + token.field("access_token")
				revoked := s.raw(d.write("POST", wire.PathRevoke, wire.MediaTypeForm, form, client...))
				if revoked.status != 200 || revoked.header.Get(wire.HeaderRevokedToken) != token.field("access_token") {
					t.Errorf("the revocation returned %d %v %q", revoked.status, revoked.header, revoked.body)
				}
				expect(t, "the revoked token", logIn(made), wire.FaultInvalidBearer)
			})
		}
	}
}

// PHP, Java and Python send DELETE with a length of zero.
func TestADELETEWithALengthOfZeroIsForwarded(t *testing.T) {
	t.Parallel()
	var length int64 = -1
	s := start(t, setup{server: server.Config{Forward: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		length = r.ContentLength
		w.WriteHeader(http.StatusOK)
	})}})
	tokens := s.session(user, password)
	for _, d := range dialects {
		r := s.rawUnchecked(d.write("DELETE", "/api/m2m/v1/callbacks/0000123456-00001/name/CarrierService", "", "",
			tokens...))
		if r.status != 200 || length != 0 {
			t.Errorf("%s: returned %d %s, and was forwarded with the length %d", d.name, r.status, r.body, length)
		}
		length = -1
	}
}

func TestResponseHeadersAreSpelledAsInTheContract(t *testing.T) {
	t.Parallel()
	s := start(t, setup{})
	token := s.token().field("access_token")
	conn, err := net.Dial("tcp", s.address)
	s.must(err)
	defer func() { _ = conn.Close() }()
	_, err = io.WriteString(conn, recorded("POST", wire.PathRevoke,
		"authorization: "+basic(apiKey, apiSecret)+"\r\ncontent-type: application/x-www-form-urlencoded\r\n", "token="+token))
	s.must(err)
	answer, err := io.ReadAll(conn)
	s.must(err)
	if !bytes.Contains(answer, []byte("\r\nRevokedAccessToken: "+token+"\r\n")) {
		t.Errorf("no RevokedAccessToken, so spelled, in:\n%s", answer)
	}
}

// rawUnchecked is raw for what the contract cannot express.
func (s *service) rawUnchecked(request string) reply {
	s.t.Helper()
	conn, err := net.Dial("tcp", s.address)
	s.must(err)
	defer func() { _ = conn.Close() }()
	_, err = io.WriteString(conn, request)
	s.must(err)
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	s.must(err)
	text, err := io.ReadAll(response.Body)
	s.must(err)
	return reply{response.StatusCode, response.Header, string(text)}
}
