package latchkey_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/internal/wire"
)

func TestLogHasOneLineForEachOperationAndNoSecret(t *testing.T) {
	var log bytes.Buffer
	a := newAPI(t)
	answer := a.answer
	status := 200
	a.answer = func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Request-Id", "req-7")
		if status != 200 {
			reply(w, status, `{"errorCode":"UnifiedWebService.REQUEST_FAILED.Login.InvalidCredentials",`+
				`"errorMessage":"no: `+password+`"}`)
			return
		}
		answer(w, r)
	}
	client := a.client(t, func(c *latchkey.Config) {
		c.Log = slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	get := func(ctx context.Context, c *latchkey.Client) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "/api/m2m/v1/x%2Fy?secret="+password, http.NoBody)
		if err != nil {
			return err
		}
		resp, err := c.Do(req, sessionID)
		if err == nil {
			err = resp.Body.Close()
		}
		return err
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for _, step := range []struct {
		op     func(context.Context, *latchkey.Client) error
		ctx    context.Context
		status int
		lines  []string // op, method, path, status, error, code
	}{
		{logIn, t.Context(), 200, []string{"get access token POST " + wire.PathToken + " 200  ", "start session POST " +
			wire.PathLogIn + " 200  "}},
		{logIn, t.Context(), 400, []string{"start session POST " + wire.PathLogIn +
			" 400 refused UnifiedWebService.REQUEST_FAILED.Login.InvalidCredentials"}},
		{reset, t.Context(), 200, []string{"reset password PUT " + wire.PathResetPassword + " 200  "}},
		{logOut, t.Context(), 200, []string{"end session POST " + wire.PathLogOut + " 200  "}},
		{get, t.Context(), 200, []string{"send request GET /api/m2m/v1/x%2Fy 200  "}},
		{get, t.Context(), 400, []string{"send request GET /api/m2m/v1/x%2Fy 400  "}}, // Do hands it to its caller
		{logIn, gone, 200, []string{"start session POST " + wire.PathLogIn + " 0 not sent "}},
		{func(ctx context.Context, c *latchkey.Client) error { _, err := c.LogIn(ctx, "", password); return err },
			t.Context(), 200,
			[]string{"start session POST " + wire.PathLogIn + " 0 not sent "}},
		{func(ctx context.Context, c *latchkey.Client) error { return c.RevokeAccessToken(ctx) }, t.Context(), 200,
			[]string{"revoke access token POST " + wire.PathRevoke + " 200  "}},
	} {
		log.Reset()
		status = step.status
		_ = step.op(step.ctx, client)
		mustNotShow(t, log.String(), "secret=")
		var got []string
		for line := range strings.Lines(log.String()) {
			var entry struct {
				Op, Method, Path, Error, Code string
				Status                        int
				Duration                      *int64
				RequestID                     string `json:"request_id"`
			}
			if err := json.Unmarshal([]byte(line), &entry); err != nil || entry.Duration == nil {
				t.Errorf("line %s: %v", line, err)
			}
			if entry.Op != "get access token" && entry.Status != 0 && entry.RequestID != "req-7" {
				t.Errorf("line %s lacks the request ID", line)
			}
			status, _ := json.Marshal(entry.Status)
			got = append(got, strings.Join([]string{entry.Op, entry.Method, entry.Path, string(status), entry.Error,
				entry.Code}, " "))
		}
		if strings.Join(got, "\n") != strings.Join(step.lines, "\n") {
			t.Errorf("the log says\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(step.lines, "\n"))
		}
	}
}

func TestConfigAccessToken(t *testing.T) {
	a := newAPI(t)
	source, asked := latchkey.AccessToken{Token: "tok-elsewhere"}, 0
	var failure error
	client := newClient(t, a.URL, func(c *latchkey.Config) {
		c.APIKey, c.APISecret = "", ""
		c.AccessToken = func(ctx context.Context) (latchkey.AccessToken, error) {
			if _, bounded := ctx.Deadline(); !bounded {
				t.Error("the wait for the token has no bound")
			}
			asked++
			return source, failure
		}
	})
	expect := func(what string, err error, times int) {
		t.Helper()
		if err != nil || asked != times {
			t.Errorf("%s: the source was asked %d times, want %d: %v", what, asked, times, err)
		}
	}
	expect("a login", logIn(t.Context(), client), 1)
	expect("a token that does not say how long it lives", logOut(t.Context(), client), 2)
	source.ExpiresAt = time.Now().Add(time.Hour)
	expect("another", logOut(t.Context(), client), 3)
	expect("one that lives", logOut(t.Context(), client), 3)
	client.InvalidateAccessToken("tok-elsewhere")
	source.Token = "tok-2"
	expect("after a refusal", logOut(t.Context(), client), 4)
	for _, r := range a.requests {
		if r.Path == wire.PathToken || !strings.HasPrefix(r.Header.Get("Authorization"), "Bearer tok-") {
			t.Errorf("sent %+v", r)
		}
	}
	sent := len(a.requests)
	if err := client.RevokeAccessToken(t.Context()); !errors.Is(err, latchkey.ErrNotSent) {
		t.Errorf("a revocation without an API key: %v", err)
	}
	client.InvalidateAccessToken("tok-2")
	failure = errors.New("the other service is away")
	if err := logIn(t.Context(), client); !errors.Is(err, latchkey.ErrNotSent) || !errors.Is(err, failure) {
		t.Errorf("a source that fails: %v", err)
	}
	failure, source.Token = nil, "two words"
	if err := logIn(t.Context(), client); !errors.Is(err, latchkey.ErrNotSent) {
		t.Errorf("a source with something else: %v", err)
	}
	if len(a.requests) != sent {
		t.Error("something was sent")
	}
	for name, change := range map[string]func(*latchkey.Config){
		"a key alone":    func(c *latchkey.Config) { c.APISecret = "" },
		"a secret alone": func(c *latchkey.Config) { c.APIKey = "" },
	} {
		config := latchkey.Config{APIKey: "k", APISecret: "s",
			AccessToken: func(context.Context) (latchkey.AccessToken, error) { return source, nil }}
		change(&config)
		if _, err := latchkey.NewClient(config); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

// A service that repeats what it got where its request ID belongs puts nothing of it
// into the log.
func TestLogRedactsTheRequestID(t *testing.T) {
	var log bytes.Buffer
	a := newAPI(t)
	answer := a.answer
	a.answer = func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Request-Id", r.Header.Get("Authorization")+" "+r.Header.Get(wire.HeaderSessionToken))
		answer(w, r)
	}
	client := a.client(t, func(c *latchkey.Config) {
		c.Log, c.APISecret = slog.New(slog.NewJSONHandler(&log, nil)), "api-secret-1234"
	})
	for _, op := range []func(context.Context, *latchkey.Client) error{
		logIn, reset, logOut, func(ctx context.Context, c *latchkey.Client) error { return c.RevokeAccessToken(ctx) },
	} {
		_ = op(t.Context(), client)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, r := range a.requests {
		_, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		for _, secret := range []string{token, r.Header.Get(wire.HeaderSessionToken)} {
			if secret != "" && strings.Contains(log.String(), secret) {
				t.Errorf("the log shows what %s carried: %s", r.Path, log.String())
			}
		}
	}
	if !strings.Contains(log.String(), "revoke access token") {
		t.Error("nothing was logged")
	}
}
