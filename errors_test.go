package latchkey_test

import (
	"errors"
	"io"
	"log"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/internal/wire"
)

func discardLog() *log.Logger { return log.New(io.Discard, "", 0) }

// sentinels are all that an error can match.
var sentinels = []error{
	latchkey.ErrSessionExpired, latchkey.ErrSessionTokenInvalid, latchkey.ErrSessionTokenMissing,
	latchkey.ErrInvalidCredentials, latchkey.ErrAccountLocked, latchkey.ErrPasswordMismatch,
	latchkey.ErrRequestUndefined, latchkey.ErrInvalidCharacter, latchkey.ErrDeserialization, latchkey.ErrUnexpected,
	latchkey.ErrUnauthorized, latchkey.ErrThrottled, latchkey.ErrUnavailable, latchkey.ErrInvalidClient,
	latchkey.ErrNotSent, latchkey.ErrBlocked, latchkey.ErrNoSuchResource,
}

// matches fails unless err matches exactly the sentinels in want.
func matches(t *testing.T, err error, want ...error) {
	t.Helper()
	for _, sentinel := range sentinels {
		if expected := slices.Contains(want, sentinel); errors.Is(err, sentinel) != expected {
			t.Errorf("matching %q is %v: %v", sentinel, !expected, err)
		}
	}
}

func TestErrorsOfAllServicesMatchTheSentinels(t *testing.T) {
	a := newAPI(t)
	client := after(t, a)
	for code, want := range map[wire.Code]error{
		wire.CodeTokenExpired: latchkey.ErrSessionExpired, wire.CodeTokenInvalid: latchkey.ErrSessionTokenInvalid,
		wire.CodeTokenMissing: latchkey.ErrSessionTokenMissing, wire.CodeInvalidCredentials: latchkey.ErrInvalidCredentials,
		wire.CodeAccountLocked: latchkey.ErrAccountLocked, wire.CodePasswordMismatch: latchkey.ErrPasswordMismatch,
		wire.CodeRequestUndefined: latchkey.ErrRequestUndefined, wire.CodeInvalidCharacter: latchkey.ErrInvalidCharacter,
		wire.CodeDeserialization: latchkey.ErrDeserialization, wire.CodeUnexpected: latchkey.ErrUnexpected,
		"REQUEST_FAILED.Something.New": nil, "SessionToken.Expired": nil, "": nil,
	} {
		for _, service := range []string{"UnifiedWebService", "DeviceService"} {
			a.answer = func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("X-Request-Id", "req-7")
				reply(w, 400, `{"errorCode":"`+code.In(service)+`","errorMessage":"In a word: no."}`)
			}
			err := logIn(t.Context(), client)
			var refused *latchkey.ConnectivityManagementResultError
			if !errors.As(err, &refused) {
				t.Fatalf("%s: error %T, want a ConnectivityManagementResultError", code, err)
			}
			if refused.StatusCode != http.StatusBadRequest || refused.ErrorCode != code.In(service) ||
				refused.ErrorMessage != "In a word: no." || refused.RequestID != "req-7" {
				t.Errorf("%s: %+v", code, *refused)
			}
			matches(t, err, want)
			for _, part := range []string{code.In(service), "In a word: no.", "400", "req-7"} {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%v does not name %s", err, part)
				}
			}
		}
	}
}

func TestErrorResponsesAreClassified(t *testing.T) {
	fault := func(code string) string {
		return `{"fault":{"code":` + code + `,"message":"Invalid Credentials","description":"Access failure"}}`
	}
	const html = "<html><body>Bad Gateway</body></html>"
	for name, test := range map[string]struct {
		status int
		body   string
		as     any
		is     []error
	}{
		"fault, wrong bearer": {401, fault(`"900901"`), new(*latchkey.FaultError), []error{latchkey.ErrUnauthorized}},
		"fault, no bearer":    {401, fault(`"900902"`), new(*latchkey.FaultError), []error{latchkey.ErrUnauthorized}},
		"fault, other 401":    {401, fault(`"900904"`), new(*latchkey.FaultError), []error{latchkey.ErrUnauthorized}},
		"fault, number":       {401, fault(`900901`), new(*latchkey.FaultError), []error{latchkey.ErrUnauthorized}},
		"fault, throttled":    {429, fault(`"900800"`), new(*latchkey.FaultError), []error{latchkey.ErrThrottled}},
		"fault, throttled as 50": {503, fault(`"900800"`), new(*latchkey.FaultError),
			[]error{latchkey.ErrThrottled, latchkey.ErrUnavailable}},
		"fault, unavailable": {503, fault(`"900503"`), new(*latchkey.FaultError), []error{latchkey.ErrUnavailable}},
		"fault, not found":   {404, fault(`"404"`), new(*latchkey.FaultError), []error{latchkey.ErrNoSuchResource}},
		"fault, XML": {401, `<ams:fault xmlns:ams="http://wso2.org/apimanager/security"><ams:code>900901</ams:code>` +
			`<ams:message>Invalid Credentials</ams:message><ams:description>Access failure</ams:description></ams:fault>`,
			new(*latchkey.FaultError), []error{latchkey.ErrUnauthorized}},
		"verify's refusal": {401, `{"errorCode":"UnifiedWebService.REQUEST_FAILED.SessionToken.Expired"}`,
			new(*latchkey.ConnectivityManagementResultError), []error{latchkey.ErrSessionExpired, latchkey.ErrUnauthorized}},
		"message that is an object": {400, `{"errorCode":"X.REQUEST_FAILED.SessionToken.Expired","errorMessage":{"a":1}}`,
			new(*latchkey.ConnectivityManagementResultError), []error{latchkey.ErrSessionExpired}},
		"OAuth, wrong client": {401, `{"error":"invalid_client","error_description":"no"}`,
			new(*latchkey.OAuthError), []error{latchkey.ErrInvalidClient, latchkey.ErrUnauthorized}},
		"OAuth, wrong grant": {400, `{"error":"unsupported_grant_type"}`, new(*latchkey.OAuthError), nil},
		"OAuth, busy": {503, `{"error":"temporarily_unavailable"}`,
			new(*latchkey.OAuthError), []error{latchkey.ErrUnavailable}},
		"wrapped expiry, documented": {401, `{"error":"unauthorized","error_description":"Failure response received for ` +
			`UWS V1 REST accounts: [400]","cause":"Requested service is unauthorized for given token"}`,
			new(*latchkey.OAuthError), []error{latchkey.ErrSessionExpired, latchkey.ErrUnauthorized}},
		"wrapped expiry, late in a long cause": {400, `{"error":"unauthorized","error_description":"x","cause":{"trace":"` +
			strings.Repeat("at com.example ", 100) + `UnifiedWebService.REQUEST_FAILED.SessionToken.Expired"}}`,
			new(*latchkey.OAuthError), []error{latchkey.ErrSessionExpired}},
		"wrapped invalid token": {400, `{"error":"unauthorized","error_description":"UWS V1 REST accounts: [400]",` +
			`"cause":"UnifiedWebService.INPUT_INVALID.SessionToken.Invalid"}`,
			new(*latchkey.OAuthError), []error{latchkey.ErrSessionTokenInvalid}},
		"wrapped bearer refusal": {500, `{"error":"internal_server_error","error_description":"unauthorized: UWS V1 REST ` +
			`accounts: [401]"}`, new(*latchkey.OAuthError), []error{latchkey.ErrUnauthorized}},
		"unauthorized for another reason": {403, `{"error":"unauthorized","error_description":"not your account"}`,
			new(*latchkey.OAuthError), nil},
		"HTML":             {502, html, new(*latchkey.ResponseError), nil},
		"HTML, throttled":  {429, html, new(*latchkey.ResponseError), []error{latchkey.ErrThrottled}},
		"HTML, away":       {503, html, new(*latchkey.ResponseError), []error{latchkey.ErrUnavailable}},
		"HTML, 401":        {401, html, new(*latchkey.ResponseError), []error{latchkey.ErrUnauthorized}},
		"nothing":          {500, "", new(*latchkey.ResponseError), nil},
		"other JSON":       {500, `{"message":"no"}`, new(*latchkey.ResponseError), nil},
		"JSON of no shape": {400, `[1,2]`, new(*latchkey.ResponseError), nil},
		"error as object":  {400, `{"error":{"code":7}}`, new(*latchkey.ResponseError), nil},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAPI(t)
			a.answer = func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Retry-After", "7")
				reply(w, test.status, test.body)
			}
			err := logIn(t.Context(), a.client(t))
			if !errors.As(err, test.as) {
				t.Fatalf("error %T, want %T: %v", err, test.as, err)
			}
			matches(t, err, test.is...)
			wait := 7 * time.Second // what those that cannot carry it would have carried
			switch e := reflect.ValueOf(test.as).Elem().Interface().(type) {
			case *latchkey.FaultError:
				wait = e.RetryAfter
			case *latchkey.OAuthError:
				wait = e.RetryAfter
			case *latchkey.ResponseError:
				wait = e.RetryAfter
				if e.RawBody.Reveal() != test.body || test.body != "" && strings.Contains(err.Error(), test.body) {
					t.Errorf("the body is not kept, or is shown: %v", err)
				}
			}
			if wait != 7*time.Second {
				t.Errorf("RetryAfter is %v, want 7s", wait)
			}
		})
	}
}

func TestSuccessIsNoError(t *testing.T) {
	for _, status := range []int{200, 201, 204} {
		if err := checkResponse(status, http.Header{}, nil); err != nil {
			t.Errorf("status %d: %v", status, err)
		}
	}
}

func TestRetryAfterIsReadFromSecondsAndDatesAndBounded(t *testing.T) {
	const date = "Mon, 23 Nov 2026 10:00:00 GMT"
	for value, want := range map[string]time.Duration{
		"": 0, "0": 0, "7": 7 * time.Second, " 7 ": 7 * time.Second, "-7": 0, "soon": 0,
		"99999999":                      24 * time.Hour,
		"99999999999999999999999":       0,
		"Mon, 23 Nov 2026 10:02:00 GMT": 2 * time.Minute,
		"Mon, 23 Nov 2026 09:00:00 GMT": 0,
		"Mon, 23 Nov 2099 09:00:00 GMT": 24 * time.Hour,
	} {
		header := http.Header{"Retry-After": {value}, "Date": {date}}
		var odd *latchkey.ResponseError
		if err := checkResponse(503, header, nil); !errors.As(err, &odd) || odd.RetryAfter != want {
			t.Errorf("Retry-After %q: %v, want %v", value, odd.RetryAfter, want)
		}
	}
}

func TestEchoedSecretsAreRedacted(t *testing.T) {
	const quoted = `p"a\ss & wörd` // travels in another form through JSON, and through forms
	for name, body := range map[string]string{
		"message": `{"errorCode":"X.Y","errorMessage":"you sent ` + password + ` and ` + strings.ToUpper(sessionID) +
			`"}`,
		"code": `{"errorCode":"` + password + `.` + sessionID + `","errorMessage":"x"}`,
		"fault": `{"fault":{"code":"` + password + `","message":"Bearer ` + bearer + `","description":"` + sessionID +
			`"}}`,
		"oauth": `{"error":"` + bearer + `","error_description":"` + password + `","cause":{"token":"` + sessionID +
			`"}}`,
		"escaped": `{"errorCode":"X.Y",` +
			`"errorMessage":"in {\"oldPassword\":\"p\\\"a\\\\ss \\u0026 w\u00f6rd\"} there is"}`,
		"form":        `{"errorCode":"X.Y","errorMessage":"in oldPassword=p%22a%5Css+%26+w%C3%B6rd there is"}`,
		"spaced out":  `{"errorCode":"X.Y","errorMessage":"in p\"a\\ss\u0000 &\n  wörd there is"}`,
		"tabbed":      `{"errorCode":"X.Y","errorMessage":"in tab\there there is"}`,
		"not a shape": password,
	} {
		header := http.Header{"X-Request-Id": {sessionID}, "Content-Type": {"text/" + password}}
		err := checkResponse(400, header, []byte(body), password, sessionID, bearer, quoted, "tab\there")
		mustNotShow(t, err, quoted, "tab here", strings.ToUpper(sessionID), "wörd", `w\u00f6rd`, "w%C3%B6rd")
		if !strings.Contains(err.Error(), "[redacted]") {
			t.Errorf("%s: nothing is marked as redacted: %v", name, err)
		}
	}
}

func TestPasswordLikeACodeDoesNotHideTheCode(t *testing.T) {
	err := checkResponse(400, http.Header{},
		[]byte(`{"errorCode":"UnifiedWebService.REQUEST_FAILED.Password.Mismatch","errorMessage":"Password?"}`), "Password")
	if !errors.Is(err, latchkey.ErrPasswordMismatch) || strings.Contains(err.Error(), "Password?") {
		t.Errorf("the error became %v", err)
	}
	err = checkResponse(401, http.Header{}, []byte(`{"fault":{"code":"900901"}}`), "900901")
	if !errors.Is(err, latchkey.ErrUnauthorized) {
		t.Errorf("the error became %v", err)
	}
}

func FuzzCheckResponse(f *testing.F) {
	f.Add(400, "text/html", "7", []byte(`{"errorCode":"A.B","errorMessage":"m"}`))
	f.Add(401, "", "", []byte(`{"fault":{"code":900901,"message":"m","description":"d"}}`))
	f.Add(401, "", "", []byte(`<fault><code>900901</code></fault>`))
	f.Add(400, "", "-1", []byte(`{"error":"unauthorized","cause":{"a":"REQUEST_FAILED.SessionToken.Expired"}}`))
	f.Add(502, password, password, []byte("\x1b[2J\u202e"+password))
	f.Add(400, "", "", []byte(`{"errorCode":"IMGR8-AND-MORE.x","errorMessage":"`+strings.Repeat("é", 600)+`"}`))
	f.Fuzz(func(t *testing.T, status int, contentType, retryAfter string, body []byte) {
		header := http.Header{
			"Content-Type": {contentType}, "Retry-After": {retryAfter}, "X-Request-Id": {contentType + retryAfter},
		}
		err := checkResponse(status, header, body, password)
		if err == nil {
			if status < 200 || status > 299 {
				t.Fatalf("status %d is no error", status)
			}
			return
		}
		text := err.Error()
		if strings.Contains(strings.ToLower(text), strings.ToLower(password)) {
			t.Errorf("shows the password: %q", text)
		}
		if len(text) > 2048 || !utf8.ValidString(text) || strings.ContainsFunc(text,
			func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("is not fit to print: %q", text)
		}
	})
}

func TestRetryAfterFindsTheTimeInEveryError(t *testing.T) {
	header := http.Header{"Retry-After": {"7"}}
	for form, body := range map[string]string{
		"fault": `{"fault":{"code":"900800"}}`, "OAuth": `{"error":"temporarily_unavailable"}`, "page": "<html>",
	} {
		err := checkResponse(503, header, []byte(body))
		if got := latchkey.RetryAfter(&latchkey.AccessTokenError{Err: err}); got != 7*time.Second {
			t.Errorf("%s: RetryAfter returned %v, want 7s", form, got)
		}
	}
	for _, err := range []error{nil, io.EOF, &latchkey.TransportError{Err: io.EOF}} {
		if got := latchkey.RetryAfter(err); got != 0 {
			t.Errorf("RetryAfter(%v) = %v, want 0", err, got)
		}
	}
}
