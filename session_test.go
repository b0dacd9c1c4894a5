package latchkey_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/internal/wire"
)

func TestRequestsMatchTheContract(t *testing.T) {
	a := newAPI(t)
	client := a.client(t, func(c *latchkey.Config) { c.UserAgent = "tester/1" })
	for _, op := range []func(context.Context, *latchkey.Client) error{logIn, logInBodyless, logOut, reset} {
		if err := op(t.Context(), client); err != nil {
			t.Fatal(err)
		}
	}
	const form, js = "application/x-www-form-urlencoded", "application/json"
	want := []struct{ method, path, contentType, body, authorization, session string }{
		{"POST", "/api/ts/v1/oauth2/token", form, "grant_type=client_credentials",
			"Basic ZGVtby1rZXk6ZGVtby1zZWNyZXQtNTU1MQ==", ""},
		{"POST", "/api/m2m/v1/session/login", js, `{"username":"zbeeblebrox","password":"` + password + `"}`,
			"Bearer " + bearer, ""},
		{"POST", "/api/m2m/v1/session/login", js, "", "Bearer " + bearer, ""},
		{"POST", "/api/m2m/v1/session/logout", form, "", "Bearer " + bearer, sessionID},
		{"PUT", "/api/m2m/v1/session/password/actions/reset", js, `{"oldPassword":"` + password + `"}`,
			"Bearer " + bearer, sessionID},
	}
	if len(a.requests) != len(want) {
		t.Fatalf("%d requests, want %d", len(a.requests), len(want))
	}
	for i, w := range want {
		got := a.requests[i]
		if got.Method != w.method || got.Path != w.path || got.Body != w.body {
			t.Errorf("request %d is %s %s %q, want %s %s %q", i, got.Method, got.Path, got.Body, w.method, w.path, w.body)
		}
		for name, value := range map[string]string{
			"Content-Type": w.contentType, "Authorization": w.authorization, "VZ-M2M-Token": w.session,
			"Accept": js, "User-Agent": "tester/1", "Idempotency-Key": "",
			// Sent even if it is 0: otherwise the server responds 411 to some clients.
			"Content-Length": fmt.Sprint(len(w.body)),
		} {
			if got := got.Header.Get(name); got != value {
				t.Errorf("request %d (%s): %s is %q, want %q", i, w.path, name, got, value)
			}
		}
	}
}

func TestResponsesHaveStatusHeaderBodyAndData(t *testing.T) {
	a := newAPI(t)
	sm := a.client(t).SessionManagement
	in, err := sm.StartConnectivityManagementSession(t.Context(),
		&latchkey.LogInRequest{Username: "z", Password: password})
	if err != nil {
		t.Fatal(err)
	}
	out, err := sm.EndConnectivityManagementSession(t.Context(), sessionID)
	if err != nil {
		t.Fatal(err)
	}
	re, err := sm.ResetConnectivityManagementPassword(t.Context(), sessionID,
		&latchkey.SessionResetPasswordRequest{OldPassword: password})
	if err != nil {
		t.Fatal(err)
	}
	if in.Data.SessionToken != sessionID || out.Data.SessionToken != sessionID || re.Data.NewPassword != newPassword {
		t.Error("the data are not what the server told")
	}
	if re.StatusCode != http.StatusOK || re.Header.Get("Content-Type") != "application/json" ||
		re.RawBody.Reveal() != `{"newPassword":"`+newPassword+`","unknown":1}` {
		t.Errorf("status %d, header %v, raw body %q", re.StatusCode, re.Header, re.RawBody.Reveal())
	}
}

func TestResponsesAndModelsPrintWithoutSecrets(t *testing.T) {
	a := newAPI(t)
	a.answer = func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Echo", sessionID)
		reply(w, 200, `{"sessionToken":"`+sessionID+`"}`)
	}
	client := a.client(t)
	resp, err := client.SessionManagement.StartConnectivityManagementSession(t.Context(),
		&latchkey.LogInRequest{Username: "zbeeblebrox", Password: password})
	if err != nil {
		t.Fatal(err)
	}
	token, err := client.AccessToken(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []any{
		resp, *resp, resp.Data, client, client.SessionManagement, token,
		latchkey.Config{APISecret: apiSecret},
		latchkey.LogInRequest{Username: "z", Password: password}, latchkey.LogOutRequest{SessionToken: sessionID},
		&latchkey.SessionResetPasswordRequest{OldPassword: password},
		latchkey.SessionResetPasswordResult{NewPassword: newPassword},
	} {
		mustNotShow(t, v)
		b, err := json.Marshal(v)
		if _, isConfig := v.(latchkey.Config); err != nil && !isConfig { // that has a func in it
			t.Fatal(err)
		}
		var log bytes.Buffer
		slog.New(slog.NewTextHandler(&log, nil)).Info("m", "v", v)
		slog.New(slog.NewJSONHandler(&log, nil)).Info("m", "v", v)
		mustNotShow(t, string(b)+log.String())
	}
	if s := fmt.Sprint(resp); !strings.Contains(s, "X-Echo") || !strings.Contains(s, "StatusCode:200") {
		t.Errorf("an answer prints as %s, without status or header names", s)
	}
}

func TestRequestsThatCannotSucceedAreNotSent(t *testing.T) {
	a := newAPI(t)
	sm := a.client(t).SessionManagement
	in := func(user string, password latchkey.Secret) error {
		_, err := sm.StartConnectivityManagementSession(t.Context(),
			&latchkey.LogInRequest{Username: user, Password: password})
		return err
	}
	re := func(token latchkey.Secret, body *latchkey.SessionResetPasswordRequest) error {
		_, err := sm.ResetConnectivityManagementPassword(t.Context(), token, body)
		return err
	}
	out := func(token latchkey.Secret) error {
		_, err := sm.EndConnectivityManagementSession(t.Context(), token)
		return err
	}
	old := &latchkey.SessionResetPasswordRequest{OldPassword: password}
	for name, test := range map[string]struct {
		err, is error
	}{
		"no user name":                {in("", password), nil},
		"no password":                 {in("z", ""), nil},
		"user name not UTF-8":         {in("\xff", password), nil},
		"password not UTF-8":          {in("z", password+"\xff"), nil},
		"nil reset":                   {re(sessionID, nil), nil},
		"no old password":             {re(sessionID, &latchkey.SessionResetPasswordRequest{}), nil},
		"old password not UTF-8":      {re(sessionID, &latchkey.SessionResetPasswordRequest{OldPassword: "\xff"}), nil},
		"reset without session":       {re("", old), latchkey.ErrSessionTokenMissing},
		"logout without session":      {out(""), latchkey.ErrSessionTokenMissing},
		"logout with a broken header": {out(sessionID + "\r\nX-Evil: 1"), latchkey.ErrSessionTokenInvalid},
	} {
		if !errors.Is(test.err, latchkey.ErrNotSent) || test.is != nil && !errors.Is(test.err, test.is) {
			t.Errorf("%s: error %v, want ErrNotSent and %v", name, test.err, test.is)
		}
		if test.err != nil {
			mustNotShow(t, test.err)
		}
	}
	if len(a.requests) != 0 {
		t.Errorf("%d requests were sent all the same", len(a.requests))
	}
}

func TestUnreadableSuccessKeepsTheRawBody(t *testing.T) {
	long := `{"newPassword":"` + newPassword + `","x":"` + strings.Repeat("x", 2<<20) + `"}`
	for name, test := range map[string]struct {
		op   func(context.Context, *latchkey.Client) error
		body string
	}{
		"login, not JSON":              {logIn, "<html>" + sessionID},
		"login, no token":              {logIn, `{"token":"` + sessionID + `"}`},
		"login, empty":                 {logIn, ""},
		"logout, wrong type":           {logOut, `{"sessionToken":["` + sessionID + `"]}`},
		"reset, not JSON":              {reset, "newPassword=" + newPassword},
		"reset, other name":            {reset, `{"password":"` + newPassword + `"}`},
		"reset, null":                  {reset, `null`},
		"reset, not UTF-8":             {reset, "{\"newPassword\":\"" + newPassword + "\xff\"}"},
		"reset, half a surrogate pair": {reset, `{"newPassword":"` + newPassword + `\ud800"}`},
		"reset, too long":              {reset, long},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAPI(t)
			a.answer = func(w http.ResponseWriter, _ *http.Request) { reply(w, 200, test.body) }
			err := test.op(t.Context(), a.client(t))
			var odd *latchkey.ResponseError
			if !errors.As(err, &odd) {
				t.Fatalf("error %T %v, want a ResponseError", err, err)
			}
			kept := test.body[:min(len(test.body), 1<<20)]
			if odd.RawBody.Reveal() != kept || odd.Size != len(kept) || odd.StatusCode != http.StatusOK {
				t.Errorf("kept %d bytes of %d, status %d", len(odd.RawBody.Reveal()), len(test.body), odd.StatusCode)
			}
			if errors.Is(err, latchkey.ErrNotSent) {
				t.Error("the error claims that nothing was sent")
			}
			if strings.HasPrefix(name, "reset") && !strings.Contains(odd.Hint(), "RawBody") {
				t.Errorf("Hint does not name the place of the new password: %q", odd.Hint())
			}
			mustNotShow(t, err)
		})
	}
}

// cut responds with a body that is shorter than its Content-Length.
func cut(body string, missing int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(len(body)+missing))
		_, _ = io.WriteString(w, body)
	}
}

func TestTruncatedResetResponseKeepsTheRawBody(t *testing.T) {
	a := newAPI(t)
	body := `{"newPassword":"` + newPassword[:8]
	a.answer = cut(body, 10)
	err := reset(t.Context(), a.client(t))
	var odd *latchkey.ResponseError
	if !errors.As(err, &odd) || odd.RawBody.Reveal() != body {
		t.Fatalf("error %v, want a ResponseError with what arrived", err)
	}
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the error does not wrap its cause: %v", err)
	}
	mustNotShow(t, err, newPassword[:8])
}

func TestCompleteResetResponseOnABrokenConnection(t *testing.T) {
	a := newAPI(t)
	a.answer = cut(`{"newPassword":"`+newPassword+`"}`, 1)
	resp, err := a.client(t).SessionManagement.ResetConnectivityManagementPassword(t.Context(), sessionID,
		&latchkey.SessionResetPasswordRequest{OldPassword: password})
	if err != nil || resp.Data.NewPassword != newPassword {
		t.Fatalf("a whole answer was thrown away: %v", err)
	}
}

func TestSentResetIgnoresCancellation(t *testing.T) {
	a := newAPI(t)
	ctx, cancel := context.WithCancel(t.Context())
	a.answer = func(w http.ResponseWriter, _ *http.Request) {
		cancel()
		reply(w, 200, `{"newPassword":"`+newPassword+`"}`)
	}
	if err := reset(ctx, a.client(t)); err != nil {
		t.Fatalf("the answer was lost: %v", err)
	}
}

func TestUnsentResetIsCanceled(t *testing.T) {
	a := newAPI(t)
	ctx, cancel := context.WithCancel(t.Context())
	release := make(chan struct{})
	a.token = func(w http.ResponseWriter, _ *http.Request) {
		cancel()
		<-release
		reply(w, 200, tokenBody(bearer, 3600))
	}
	client := a.client(t)
	err := reset(ctx, client)
	close(release)
	if !errors.Is(err, latchkey.ErrNotSent) || !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v, want ErrNotSent and context.Canceled", err)
	}
	// The token request outlives its caller, and serves the next.
	if _, err := client.AccessToken(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := len(a.to(wire.PathResetPassword)); n != 0 {
		t.Errorf("%d resets were sent", n)
	}
}

// unused is a transport that nothing may go through.
type unused struct{ t *testing.T }

func (u unused) RoundTrip(req *http.Request) (*http.Response, error) {
	u.t.Errorf("a request was sent: %s", req.URL.Path)
	return nil, errors.New("nothing may be sent")
}

func TestIdempotencyKeyIsNotSentToTheVendor(t *testing.T) {
	resetAs := func(client *latchkey.Client, key string) error {
		_, err := client.SessionManagement.ResetConnectivityManagementPassword(t.Context(), sessionID,
			&latchkey.SessionResetPasswordRequest{OldPassword: password, IdempotencyKey: key})
		return err
	}
	a := newAPI(t)
	client := a.client(t)
	if err := resetAs(client, "key-1"); err != nil {
		t.Fatal(err)
	}
	if got := a.requests[len(a.requests)-1].Header.Get("Idempotency-Key"); got != "key-1" {
		t.Errorf("the reset carried the key %q", got)
	}
	sent := len(a.requests)
	for _, key := range []string{"a b", "schlüssel", strings.Repeat("k", 256), "a\r\nb"} {
		if err := resetAs(client, key); !errors.Is(err, latchkey.ErrNotSent) {
			t.Errorf("key %q: error %v, want one that says nothing was sent", key, err)
		}
	}
	for _, url := range []string{"", "https://thingspace.verizon.com", "https://ThingSpace.Verizon.com:443/x",
		"https://thingspace.verizon.com."} {
		vendors, err := latchkey.NewClient(latchkey.Config{BaseURL: url, APIKey: "k", APISecret: "s",
			HTTPClient: &http.Client{Transport: unused{t}}})
		if err != nil {
			t.Fatal(err)
		}
		if err := resetAs(vendors, "key-1"); !errors.Is(err, latchkey.ErrNotSent) ||
			!strings.Contains(err.Error(), "vendor") {
			t.Errorf("at the vendor's, %q: error %v", url, err)
		}
	}
	if len(a.requests) != sent {
		t.Error("something was sent")
	}
}
