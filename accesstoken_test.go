package latchkey_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/internal/wire"
)

func TestConcurrentCallersShareOneTokenRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, config := newPipeAPI(t)
		release := make(chan struct{})
		a.token = func(w http.ResponseWriter, _ *http.Request) {
			<-release
			reply(w, 200, tokenBody(bearer, 3600))
		}
		client := a.client(t, config)
		results := make(chan latchkey.AccessToken, 100)
		for range 100 {
			go func() {
				token, err := client.AccessToken(t.Context())
				if err != nil {
					t.Error(err)
				}
				results <- token
			}()
		}
		synctest.Wait() // all of them are waiting
		close(release)
		for range 100 {
			if token := <-results; token.Token != bearer || !token.ExpiresAt.Equal(time.Now().Add(time.Hour)) {
				t.Errorf("token until %v, want one for an hour", token.ExpiresAt)
			}
		}
		if n := len(a.requests); n != 1 {
			t.Errorf("%d requests, want one", n)
		}
	})
}

func TestTokenRequestContinuesWhenOneCallerIsCanceled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, config := newPipeAPI(t)
		release := make(chan struct{})
		a.token = func(w http.ResponseWriter, r *http.Request) {
			select {
			case <-release:
				reply(w, 200, tokenBody(bearer, 3600))
			case <-r.Context().Done():
				t.Error("the request for the token was given up with its first caller")
			}
		}
		client := a.client(t, config)
		first, cancel := context.WithCancel(t.Context())
		left, stayed := make(chan error, 1), make(chan error, 1)
		go func() {
			_, err := client.AccessToken(first)
			left <- err
		}()
		synctest.Wait()
		go func() {
			_, err := client.AccessToken(t.Context())
			stayed <- err
		}()
		synctest.Wait()
		cancel()
		err := <-left
		var lost *latchkey.TransportError
		if !errors.Is(err, context.Canceled) || !errors.As(err, &lost) || !lost.MaybeSent {
			t.Errorf("the canceled caller got %v", err)
		}
		synctest.Wait()
		close(release)
		if err := <-stayed; err != nil {
			t.Errorf("the caller who stayed got %v", err)
		}
		if n := len(a.requests); n != 1 {
			t.Errorf("%d requests, want one", n)
		}
	})
}

func TestFailedTokenRequestIsSharedAndNotCached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, config := newPipeAPI(t)
		release := make(chan struct{})
		a.token = func(w http.ResponseWriter, _ *http.Request) {
			<-release
			reply(w, 503, `{"fault":{"code":"900503","message":"m","description":"d"}}`)
		}
		client := a.client(t, config)
		results := make(chan error, 10)
		for range 10 {
			go func() {
				_, err := client.AccessToken(t.Context())
				results <- err
			}()
		}
		synctest.Wait()
		close(release)
		for range 10 {
			if err := <-results; !errors.Is(err, latchkey.ErrUnavailable) {
				t.Errorf("error %v, want the failure of the flight", err)
			}
		}
		if n := len(a.requests); n != 1 {
			t.Errorf("%d requests for ten callers, want one", n)
		}
		a.token = func(w http.ResponseWriter, _ *http.Request) { reply(w, 200, tokenBody(bearer, 3600)) }
		if _, err := client.AccessToken(t.Context()); err != nil {
			t.Errorf("the failure was remembered: %v", err)
		}
	})
}

func TestTokenRequestTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, config := newPipeAPI(t)
		a.token = func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
		client := a.client(t, config)
		start := time.Now()
		_, err := client.AccessToken(t.Context())
		var lost *latchkey.TransportError
		if !errors.As(err, &lost) || !lost.Timeout() || time.Since(start) != 30*time.Second {
			t.Errorf("error %v after %v, want a timeout after 30s", err, time.Since(start))
		}
	})
}

func TestAccessTokenIsRenewedBeforeItExpires(t *testing.T) {
	a := newAPI(t)
	now := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	issued := now
	a.token = func(w http.ResponseWriter, _ *http.Request) {
		// As the service does: the same token until its hour is over.
		for now.Sub(issued) >= time.Hour {
			issued = issued.Add(time.Hour)
		}
		reply(w, 200, tokenBody("tok-"+issued.Format("15"), int((time.Hour-now.Sub(issued))/time.Second)))
	}
	client := a.client(t, func(c *latchkey.Config) { c.Now = func() time.Time { return now } })
	for i, step := range []struct {
		at    time.Duration
		token string
		asked int
	}{
		{0, "tok-10", 1},
		{58*time.Minute + 59*time.Second, "tok-10", 1},
		{59 * time.Minute, "tok-10", 2},                // a minute left: keep half of it
		{59*time.Minute + 29*time.Second, "tok-10", 2}, //
		{59*time.Minute + 30*time.Second, "tok-10", 3},
		{60 * time.Minute, "tok-11", 4},
		{118 * time.Minute, "tok-11", 4},
	} {
		now = time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC).Add(step.at)
		token, err := client.AccessToken(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if token.Token.Reveal() != step.token || len(a.requests) != step.asked {
			t.Errorf("step %d at %v: token %s after %d requests, want %s after %d",
				i, step.at, token.Token.Reveal(), len(a.requests), step.token, step.asked)
		}
		if !token.ExpiresAt.Equal(issued.Add(time.Hour)) {
			t.Errorf("step %d: ends at %v, want %v", i, token.ExpiresAt, issued.Add(time.Hour))
		}
	}
}

func TestTokenInItsLastSecondIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, config := newPipeAPI(t)
		a.token = func(w http.ResponseWriter, _ *http.Request) {
			if len(a.to(wire.PathToken)) == 1 {
				reply(w, 200, tokenBody("tok-dying", 0))
				return
			}
			reply(w, 200, tokenBody("tok-new", 3600))
		}
		client := a.client(t, config)
		start := time.Now()
		token, err := client.AccessToken(t.Context())
		if err != nil || token.Token != "tok-new" || time.Since(start) != time.Second {
			t.Errorf("token %s after %v, %v; want the new one a second later", token.Token.Reveal(), time.Since(start), err)
		}
	})
}

func TestUnusableTokenResponsesAreErrors(t *testing.T) {
	for name, body := range map[string]string{
		"not JSON":        bearer,
		"no token":        `{"token_type":"Bearer","expires_in":3600}`,
		"other type":      `{"access_token":"` + bearer + `","token_type":"mac","expires_in":3600}`,
		"breaks a header": `{"access_token":"` + bearer + `\r\nX-Evil: 1","token_type":"Bearer","expires_in":3600}`,
	} {
		a := newAPI(t)
		a.token = func(w http.ResponseWriter, _ *http.Request) { reply(w, 200, body) }
		var odd *latchkey.ResponseError
		_, err := a.client(t).AccessToken(t.Context())
		if !errors.As(err, &odd) {
			t.Errorf("%s: error %v, want a ResponseError", name, err)
			continue
		}
		mustNotShow(t, err)
	}
}

func TestScopesAreRequested(t *testing.T) {
	a := newAPI(t)
	client := a.client(t, func(c *latchkey.Config) { c.Scopes = []string{"ts.read", "ts.write"} })
	if _, err := client.AccessToken(t.Context()); err != nil {
		t.Fatal(err)
	}
	form, err := url.ParseQuery(a.requests[0].Body)
	if err != nil || form.Get("scope") != "ts.read ts.write" || form.Get("grant_type") != "client_credentials" {
		t.Errorf("the form is %q", a.requests[0].Body)
	}
}

// numbered makes the api give out tok-1, tok-2, … and refuse those in refused.
func numbered(a *api, refused map[string]bool) {
	a.token = func(w http.ResponseWriter, _ *http.Request) {
		reply(w, 200, tokenBody(fmt.Sprintf("tok-%d", len(a.to(wire.PathToken))), 3600))
	}
	answer := a.answer
	a.answer = func(w http.ResponseWriter, r *http.Request) {
		if refused[r.Header.Get("Authorization")] {
			reply(w, 401, `{"fault":{"code":"900901","message":"Invalid Credentials","description":"d"}}`)
			return
		}
		answer(w, r)
	}
}

func TestRefusedAccessTokenIsReplacedButOnlyALogoutIsRepeated(t *testing.T) {
	for path, test := range map[string]struct {
		op   func(context.Context, *latchkey.Client) error
		sent int
	}{
		wire.PathLogIn: {logIn, 1}, wire.PathResetPassword: {reset, 1}, wire.PathLogOut: {logOut, 2},
	} {
		a := newAPI(t)
		numbered(a, map[string]bool{"Bearer tok-1": true})
		client := a.client(t)
		err := test.op(t.Context(), client)
		if test.sent == 1 && (!errors.Is(err, latchkey.ErrUnauthorized) || errors.Is(err, latchkey.ErrNotSent)) ||
			test.sent == 2 && err != nil {
			t.Errorf("%s: error %v", path, err)
		}
		if n := len(a.to(path)); n != test.sent {
			t.Errorf("%s was sent %d times, want %d", path, n, test.sent)
		}
		if err := test.op(t.Context(), client); err != nil {
			t.Errorf("%s: the next call had no fresh bearer: %v", path, err)
		}
		if n := len(a.to(wire.PathToken)); n != 2 {
			t.Errorf("%s: %d tokens were fetched, want two", path, n)
		}
	}
}

func TestLogoutIsNotSentAThirdTime(t *testing.T) {
	a := newAPI(t)
	numbered(a, map[string]bool{"Bearer tok-1": true, "Bearer tok-2": true, "Bearer tok-3": true})
	if err := logOut(t.Context(), a.client(t)); !errors.Is(err, latchkey.ErrUnauthorized) {
		t.Errorf("error %v, want ErrUnauthorized", err)
	}
	if n := len(a.to(wire.PathLogOut)); n != 2 {
		t.Errorf("sent %d times, want two", n)
	}
}

func TestInvalidateAccessTokenRemovesOnlyThatToken(t *testing.T) {
	a := newAPI(t)
	numbered(a, nil)
	client := after(t, a)
	for _, step := range []struct {
		invalidate latchkey.Secret
		then       latchkey.Secret
	}{{"tok-0", "tok-1"}, {"", "tok-1"}, {"tok-1", "tok-2"}, {"tok-1", "tok-2"}} {
		client.InvalidateAccessToken(step.invalidate)
		token, err := client.AccessToken(t.Context())
		if err != nil || token.Token != step.then {
			t.Errorf("after %s: %s, want %s", step.invalidate.Reveal(), token.Token.Reveal(), step.then.Reveal())
		}
	}
}

func TestRevokeAccessTokenRemovesItFromTheCache(t *testing.T) {
	a := newAPI(t)
	numbered(a, nil)
	a.answer = func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != wire.PathRevoke {
			t.Errorf("request to %s", r.URL.Path)
		}
		w.Header().Set("RevokedAccessToken", "tok-1")
	}
	client := a.client(t) // nothing cached: the service knows which one is live
	if err := client.RevokeAccessToken(t.Context()); err != nil {
		t.Fatal(err)
	}
	sent := a.to(wire.PathRevoke)
	if len(sent) != 1 || sent[0].Method != http.MethodPost ||
		sent[0].Body != "grant_type=client_credentials&token=tok-1" ||
		sent[0].Header.Get("Content-Type") != "application/x-www-form-urlencoded" ||
		sent[0].Header.Get("Authorization") != "Basic ZGVtby1rZXk6ZGVtby1zZWNyZXQtNTU1MQ==" {
		t.Errorf("the revocation was sent as %+v", sent)
	}
	if token, err := client.AccessToken(t.Context()); err != nil || token.Token != "tok-2" {
		t.Errorf("after revoking: %s, %v; want a new token", token.Token.Reveal(), err)
	}
}

func TestNoCallerKeepsARevokedToken(t *testing.T) {
	a := newAPI(t)
	a.token = func(w http.ResponseWriter, _ *http.Request) {
		token := "tok-old"
		if len(a.to(wire.PathToken)) > 2 {
			token = "tok-new"
		}
		reply(w, 200, tokenBody(token, 3600))
	}
	client := after(t, a)
	a.answer = func(http.ResponseWriter, *http.Request) {
		// While the revocation is under way, another caller asks.
		if _, err := client.AccessToken(t.Context()); err != nil {
			t.Error(err)
		}
		if n := len(a.to(wire.PathToken)); n != 2 {
			t.Errorf("a token that was about to end came from the cache")
		}
	}
	if err := client.RevokeAccessToken(t.Context()); err != nil {
		t.Fatal(err)
	}
	if token, err := client.AccessToken(t.Context()); err != nil || token.Token != "tok-new" {
		t.Errorf("after revoking: %s, %v; want a new token", token.Token.Reveal(), err)
	}
}

func TestFailedRevocationIsAnError(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"other token": func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("RevokedAccessToken", "tok-other") },
		"invalid":     func(w http.ResponseWriter, _ *http.Request) { reply(w, 401, `{"error":"invalid_client"}`) },
	} {
		a := newAPI(t)
		a.answer = answer
		client := after(t, a)
		err := client.RevokeAccessToken(t.Context())
		if err == nil {
			t.Errorf("%s: no error", name)
		}
		mustNotShow(t, err)
	}
}
