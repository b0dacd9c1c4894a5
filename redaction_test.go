package latchkey_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/latchkey/latchkey"
)

// weak are passwords that are words, numbers or letters: a gap in a well-known sentence
// would reveal them.
var weak = []latchkey.Secret{"wrong", "e", " ", ".", "400", "old password", "password is", "redacted",
	"connection refused", "request", "latchkey", "status", "error", "X", "req-7"}

func TestRedactionGapDoesNotRevealThePassword(t *testing.T) {
	header := http.Header{"X-Request-Id": {"req-7-wrong-400"}, "Content-Type": {"text/wrong"}}
	for _, test := range []struct{ body, want string }{
		{
			`{"errorCode":"UnifiedWebService.REQUEST_FAILED.Password.Mismatch","errorMessage":"The old password is wrong; %s"}`,
			"the old password is wrong",
		},
		{
			`{"errorCode":"UnifiedWebService.REQUEST_FAILED.Login.InvalidCredentials","errorMessage":"%s"}`,
			"the user name or the password is wrong",
		},
		{
			`{"fault":{"code":"900901","message":"%s","description":"The access token is wrong"}}`,
			"the access token was refused",
		},
		{`{"error":"invalid_client","error_description":"it is wrong: %s"}`, "the API key or its secret is wrong"},
		{`{"errorCode":"Other.Code.400","errorMessage":"The old password is wrong: %s"}`, "is not shown"},
		{`{"error":"wrong","error_description":"x","cause":"%s"}`, "is not shown"},
		{`<html>the old password is wrong</html><!-- %s -->`, "the body is not an error of this API"},
	} {
		body, want := test.body, test.want
		shown := map[string]bool{}
		for _, secret := range weak {
			for _, echo := range []string{secret.Reveal(), "something else"} {
				err := checkResponse(400, header, []byte(strings.Replace(body, "%s", echo, 1)), secret, sessionID)
				if strings.Contains(err.Error(), "[redacted]") || !strings.Contains(err.Error(), want) ||
					!strings.Contains(err.Error(), "request id req-7-wrong-400") {
					t.Errorf("password %q: %v", secret.Reveal(), err)
				}
				shown[err.Error()] = true
			}
		}
		if body[0] == '{' && len(shown) != 1 { // the error of a page has its size
			t.Errorf("what is shown of %s depends on the password: %v", body, shown)
		}
	}
}

func TestErrorsOfTheSystemAreNotRedacted(t *testing.T) {
	client := withToken(t, "http://127.0.0.1:1", &http.Transport{})
	const want = "dial tcp 127.0.0.1:1: connect: connection refused"
	for _, secret := range append(weak, "dial tcp 127.0.0.1:1", "connect: connection refused", "127.0.0.1",
		"api/m2m/v1/session/login") {
		_, err := client.SessionManagement.StartConnectivityManagementSession(t.Context(),
			&latchkey.LogInRequest{Username: "zoe", Password: secret})
		if !errors.Is(err, latchkey.ErrNotSent) || !strings.Contains(err.Error(), want) ||
			strings.Contains(err.Error(), "[redacted]") {
			t.Errorf("password %q: %v", secret.Reveal(), err)
		}
	}
}

func TestEmptySecretDoesNotPreventRedaction(t *testing.T) {
	err := checkResponse(400, http.Header{}, []byte(`{"errorCode":"A.B","errorMessage":"you sent `+password+`"}`), "",
		password)
	if !strings.Contains(err.Error(), "you sent [redacted]") {
		t.Errorf("the error is %v", err)
	}
}
