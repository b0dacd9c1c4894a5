package apitest_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/apitest"
)

func exchange(
	method, path, requestBody string, status int, header http.Header, body string,
) (*http.Request, *http.Response) {
	url := "http://latchkey.example" + path
	request, err := http.NewRequestWithContext(context.Background(), method, url, strings.NewReader(requestBody))
	if err != nil {
		panic(err)
	}
	request.Header.Set("Authorization", "Bearer x")
	request.Header.Set("Content-Type", "application/json")
	return request, &http.Response{StatusCode: status, Header: header, Body: io.NopCloser(strings.NewReader(body))}
}

func TestCheck(t *testing.T) {
	contract := apitest.Load(t)
	const login = "/api/m2m/v1/session/login"
	const request = `{"username":"u","password":"p"}`
	const token = `{"sessionToken":"bcce3ea6-fe4f-4952-bacf-eadd80718e83"}`
	const fault = `{"fault":{"code":"404","message":"m","description":"d"}}`
	header := func(pairs ...string) http.Header {
		h := http.Header{"Content-Type": {"application/json"}, "Cache-Control": {"no-store"}, "X-Request-Id": {"r1"}}
		for i := 0; i < len(pairs); i += 2 {
			h.Set(pairs[i], pairs[i+1])
			if pairs[i+1] == "" {
				h.Del(pairs[i])
			}
		}
		return h
	}
	tests := []struct {
		name, method, path, request string
		status                      int
		header                      http.Header
		body                        string
		good                        bool
	}{
		{"a login", "POST", login, request, 200, header(), token, true},
		{"an unknown path", "GET", "/nowhere", "", 404, header(), fault, true},
		{"an unknown method", "GET", login, "", 405, header("Allow", "POST"), fault, true},
		{"a check without a session token", "PATCH", "/latchkey/v1/verify", "", 401,
			header("WWW-Authenticate", "Bearer"), fault, false},
		{"a request without its field", "POST", login, `{"username":"u"}`, 200, header(), token, false},
		{"an undocumented status", "POST", login, request, 201, header(), token, false},
		{"a response of another schema", "POST", login, request, 200, header(), `{"token":"x"}`, false},
		{"a token that is not a GUID", "POST", login, request, 200, header(), `{"sessionToken":"x"}`, false},
		{"an unknown errorCode", "POST", login, request, 400, header(),
			`{"errorCode":"UnifiedWebService.Other","errorMessage":"m"}`, false},
		{"a missing header", "POST", login, request, 200, header("X-Request-Id", ""), token, false},
		{"a header with another value", "POST", login, request, 200, header("Cache-Control", "public"), token, false},
		{"an undocumented header", "POST", login, request, 200, header("X-Debug", "1"), token, false},
		{"a 405 without Allow", "GET", login, "", 405, header(), fault, false},
		{"a success on an unknown path", "GET", "/nowhere", "", 200, header(), fault, false},
		{"a fault with an unknown code", "GET", "/nowhere", "", 404, header(),
			`{"fault":{"code":"x","message":"m","description":"d"}}`, false},
		{"a body that is not documented", "POST", "/api/ts/v1/oauth2/revoke", "", 200, header(), "{}", false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			request, response := exchange(test.method, test.path, test.request, test.status, test.header, test.body)
			if err := contract.Check(request, response); (err == nil) != test.good {
				t.Errorf("Check() = %v, want good: %v", err, test.good)
			}
			if body, err := io.ReadAll(response.Body); err != nil || string(body) != test.body {
				t.Errorf("after Check the body is %q, %v", body, err)
			}
		})
	}
}

func TestMalformedSkipsTheCheckOfTheRequestOnly(t *testing.T) {
	contract := apitest.Load(t)
	h := http.Header{"Content-Type": {"application/json"}, "Cache-Control": {"no-store"}, "X-Request-Id": {"r1"}}
	request, response := exchange("POST", "/api/m2m/v1/session/login", `{"username":5}`, 400, h,
		`{"errorCode":"UnifiedWebService.DeserializationFailed","errorMessage":"m"}`)
	request = request.WithContext(apitest.Malformed(request.Context()))
	if err := contract.Check(request, response); err != nil {
		t.Errorf("a malformed request with a documented response: %v", err)
	}
	response.StatusCode = 418
	if err := contract.Check(request, response); err == nil {
		t.Error("a malformed request with an undocumented response passed")
	}
}
