package server_test

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/wire"
)

// raw sends bytes over a connection of its own and reads one answer. It is how
// tests send what no client library would. The answer is held to the contract;
// the request is not.
func (s *service) raw(request string) reply {
	s.t.Helper()
	conn, err := net.Dial("tcp", s.address)
	s.must(err)
	defer func() { _ = conn.Close() }()
	_, err = io.WriteString(conn, request)
	s.must(err)
	// Only method and path are needed of the request; anything may follow.
	line, _, _ := strings.Cut(request, "\r\n")
	parsed, err := http.ReadRequest(bufio.NewReader(strings.NewReader(line + "\r\nHost: x\r\n\r\n")))
	s.must(err)
	response, err := http.ReadResponse(bufio.NewReader(conn), parsed)
	s.must(err)
	if err := s.contract.Check(parsed.WithContext(malformed), response); err != nil {
		s.t.Errorf("%s answered %d: %v", line, response.StatusCode, err)
	}
	text, err := io.ReadAll(response.Body)
	s.must(err)
	return reply{response.StatusCode, response.Header, string(text)}
}

// recorded builds a request as the vendor's SDK sends it: header names in lower
// case, in its order.
func recorded(method, path string, headers, body string) string {
	return method + " " + path + " HTTP/1.1\r\n" + headers +
		"accept: application/json\r\nuser-agent: APIMATIC 3.0\r\nhost: thingspace.verizon.com\r\n" +
		"content-length: " + strconv.Itoa(len(body)) + "\r\nconnection: close\r\n\r\n" + body
}

// The requests are those that two releases of the vendor's own SDK were recorded
// sending (docs/contract.md).
func TestRecordedRequestsOfTheVendorsSDKAreAccepted(t *testing.T) {
	s := start(t, setup{})
	s.addUser("grflbk-user", "grflbk")
	const form, json = "content-type: application/x-www-form-urlencoded\r\n", "content-type: application/json\r\n"
	guid := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)

	token := s.raw(recorded("POST", wire.PathToken, "authorization: "+basic(apiKey, apiSecret)+"\r\n"+form, "grant_type=client_credentials"))
	if token.status != 200 || token.field("access_token") == "" || token.field("token_type") != "Bearer" || token.field("scope") != "default" {
		t.Fatalf("the token request answered %d %s", token.status, token.body)
	}
	if got := token.header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("the token may be cached: Cache-Control %q", got)
	}
	bearer := "authorization: Bearer " + token.field("access_token") + "\r\n"

	for _, idempotency := range []string{"", "idempotency-key: 0d3f1c9a-7a3e-4a52-8f0e-1f0f5a7c9b11\r\n"} {
		login := s.raw(recorded("POST", wire.PathLogIn, bearer+idempotency+json, `{"username":"`+user+`","password":"`+password+`"}`))
		session := login.field("sessionToken")
		if login.status != 200 || !guid.MatchString(session) {
			t.Fatalf("the login answered %d %s", login.status, login.body)
		}
		withSession := bearer + "vz-m2m-token: " + session + "\r\n"
		logout := s.raw(recorded("POST", wire.PathLogOut, withSession+idempotency+form, ""))
		if logout.status != 200 || logout.body != `{"sessionToken":"`+session+`"}` {
			t.Errorf("the logout answered %d %s", logout.status, logout.body)
		}
		again := s.raw(recorded("POST", wire.PathLogOut, withSession+idempotency+form, ""))
		expect(t, "a second logout", again, "REQUEST_FAILED.SessionToken.Expired")
	}

	expect(t, "a login without a body", s.raw(recorded("POST", wire.PathLogIn, bearer+json, "")), "INPUT_INVALID.RequestUndefined")

	login := s.raw(recorded("POST", wire.PathLogIn, bearer+json, `{"username":"grflbk-user","password":"grflbk"}`))
	withSession := bearer + "vz-m2m-token: " + login.field("sessionToken") + "\r\n"
	reset := s.raw(recorded("PUT", wire.PathResetPassword, withSession+json, `{"oldPassword":"grflbk"}`))
	if reset.status != 200 || !regexp.MustCompile(`^[A-Za-z0-9]{20}$`).MatchString(reset.field("newPassword")) {
		t.Fatalf("the reset answered %d %s", reset.status, reset.body)
	}
	s.secrets = append(s.secrets, reset.field("newPassword"))

	revoke := s.raw(recorded("POST", wire.PathRevoke, "authorization: "+basic(apiKey, apiSecret)+"\r\n"+form,
		"grant_type=client_credentials&token="+token.field("access_token"))) // as published; TestAnswersSpell… sends RFC 7009's form
	if revoke.status != 200 || revoke.body != "" || revoke.header.Get(wire.HeaderRevokedToken) != token.field("access_token") {
		t.Errorf("the revocation answered %d %v %q", revoke.status, revoke.header, revoke.body)
	}
}

func TestAnswersSpellHeadersAsTheContractDoes(t *testing.T) {
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
