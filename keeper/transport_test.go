package keeper_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/keeper"
)

func TestARequestRefusedForItsTokenIsSentAgainWhateverItsMethod(t *testing.T) {
	for _, refusal := range refusals {
		for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE"} {
			t.Run(refusal.name+"/"+method, func(t *testing.T) {
				api := func(n int, body string) (*http.Response, error) {
					if n > 1 {
						return answerWith(200, "echo:"+body), nil
					}
					resp := answerWith(refusal.status, refusal.body)
					if refusal.name == "zipped" {
						resp.Header.Set("Content-Encoding", "gzip")
					}
					return resp, nil
				}
				inFront(t, api, func(t *testing.T, f *front, k *keeper.Keeper) {
					if refusal.of == "bearer" {
						f.revokeBearer()
					}
					got := send(t.Context(), k.Transport(f), method, "payload", true)
					if got.err != nil || got.status != 200 || got.body != "echo:payload" {
						t.Errorf("got %+v, want the echo", got)
					}
					f.allClosed(t, 2)
					if len(f.bodies) != 2 || f.bodies[0] != "payload" || f.bodies[1] != "payload" {
						t.Fatalf("the bodies were %q, want the payload twice", f.bodies)
					}
					before, after := strings.Fields(f.tokens[0]), strings.Fields(f.tokens[1])
					if (before[0] != after[0]) != (refusal.of == "session") || (before[2] != after[2]) != (refusal.of == "bearer") {
						t.Errorf("the tokens were %q, want another %s only", f.tokens, refusal.of)
					}
				})
			})
		}
	}
}

func TestAnyOtherAnswerIsPassedOnUnchangedAndOnce(t *testing.T) {
	for name, answer := range map[string]struct {
		status int
		body   string
	}{
		"success":           {200, "fine"},
		"other error":       {400, `{"errorCode":"UnifiedWebService.INPUT_INVALID.Request.InvalidCharacter"}`},
		"message only":      {400, `{"errorCode":"X.REQUEST_FAILED.UnexpectedError","errorMessage":"SessionToken.Expired"}`},
		"other oauth error": {400, `{"error":"invalid_request","error_description":"UWS [400]"}`},
		"forbidden":         {403, `<fault><code>900908</code></fault>`},
		"not found":         {404, `{"fault":{"code":"404"}}`},
		"failure":           {500, expired},
		"page":              {400, "<html>SessionToken.Expired</html>"},
		"empty":             {400, ""},
		"long error":        {400, strings.Repeat("x", 1<<20)},
		"long error, as JSON": {400, `{"errorMessage":"` + strings.Repeat("x", 1<<20) +
			`","errorCode":"A.REQUEST_FAILED.SessionToken.Expired"}`},
	} {
		t.Run(name, func(t *testing.T) {
			api := func(int, string) (*http.Response, error) { return answerWith(answer.status, answer.body), nil }
			inFront(t, api, func(t *testing.T, f *front, k *keeper.Keeper) {
				req := httptest.NewRequest("POST", modelURL+"/api/m2m/v1/devices", strings.NewReader("payload"))
				resp, err := k.Transport(f).RoundTrip(req)
				if err != nil {
					t.Fatal(err)
				}
				if read := f.answers[0].read; read > 32<<10 {
					t.Errorf("%d bytes were read ahead, want a bound", read)
				}
				got, err := io.ReadAll(resp.Body)
				if err != nil || string(got) != answer.body || resp.StatusCode != answer.status {
					t.Errorf("got status %d and %d bytes (%v), want the response", resp.StatusCode, len(got), err)
				}
				if resp.ContentLength != int64(len(answer.body)) {
					t.Errorf("ContentLength is %d, want %d", resp.ContentLength, len(answer.body))
				}
				_ = resp.Body.Close()
				f.allClosed(t, 1)
				if f.logIns != 1 {
					t.Errorf("%d logins, want 1", f.logIns)
				}
			})
		})
	}
}

func TestAnErrorWhileReadingAheadReachesTheCaller(t *testing.T) {
	api := func(int, string) (*http.Response, error) {
		resp := answerWith(400, "")
		resp.Body = io.NopCloser(io.MultiReader(strings.NewReader("half"), &brokenReader{}))
		return resp, nil
	}
	inFront(t, api, func(t *testing.T, f *front, k *keeper.Keeper) {
		if got := get(k.Transport(f)); !errors.Is(got.err, errCut) || got.body != "half" || got.status != 400 {
			t.Errorf("got %+v, want the half and the error behind it", got)
		}
		f.allClosed(t, 1)
	})
}

func (brokenReader) Read([]byte) (int, error) { return 0, errCut }

func TestABodyThatCannotBeReadAgainGetsTheRefusalAndTheNextRequestANewToken(t *testing.T) {
	api := func(n int, body string) (*http.Response, error) {
		if n == 1 {
			return answerWith(400, expired), nil
		}
		return answerWith(200, "echo:"+body), nil
	}
	for name, unreadable := range map[string]func(*http.Request){
		"no GetBody":      func(r *http.Request) { r.GetBody = nil },
		"GetBody failing": func(r *http.Request) { r.GetBody = func() (io.ReadCloser, error) { return nil, errCut } },
	} {
		t.Run(name, func(t *testing.T) {
			inFront(t, api, func(t *testing.T, f *front, k *keeper.Keeper) {
				req, _ := http.NewRequest("POST", modelURL+"/api/x", strings.NewReader("stream"))
				unreadable(req)
				if got := do(k.Transport(f), req); got.err != nil || got.status != 400 || got.body != expired {
					t.Errorf("got %+v, want the upstream's refusal, whole", got)
				}
				get(k.Transport(f)).ok(t)
				f.allClosed(t, 2)
				if f.tokens[0] == f.tokens[1] {
					t.Error("the next request carried the refused token")
				}
			})
		})
	}
}

func TestARequestIsNeverSentAThirdTime(t *testing.T) {
	for _, refusal := range refusals {
		if refusal.name == "zipped" {
			continue
		}
		api := func(int, string) (*http.Response, error) { return answerWith(refusal.status, refusal.body), nil }
		inFront(t, api, func(t *testing.T, f *front, k *keeper.Keeper) {
			got := get(k.Transport(f))
			if got.err != nil || got.status != refusal.status || got.body != refusal.body {
				t.Errorf("%s: got %+v, want the second refusal, whole", refusal.name, got)
			}
			f.allClosed(t, 2)
		})
	}
}

func TestAServiceThatRefusesEveryTokenDoesNotCauseLoginAfterLogin(t *testing.T) {
	api := func(int, string) (*http.Response, error) { return answerWith(400, expired), nil }
	inFront(t, api, func(t *testing.T, f *front, k *keeper.Keeper) {
		for range 3600 {
			get(k.Transport(f))
			pass(time.Second)
		}
		if f.logIns > 70 || f.logIns < 50 {
			t.Errorf("%d logins in an hour, want about one a minute", f.logIns)
		}
	})
}

func TestAReplayThatFailsIsTheAnswer(t *testing.T) {
	api := func(n int, _ string) (*http.Response, error) {
		if n > 1 {
			return nil, errCut
		}
		return answerWith(400, expired), nil
	}
	inFront(t, api, func(t *testing.T, f *front, k *keeper.Keeper) {
		if got := get(k.Transport(f)); !errors.Is(got.err, errCut) {
			t.Errorf("got %+v, want the error of the second try", got)
		}
		f.allClosed(t, 1)
	})
}

func TestARenewalThatFailsClosesEveryBody(t *testing.T) {
	api := func(int, string) (*http.Response, error) { return answerWith(400, expired), nil }
	inFront(t, api, func(t *testing.T, f *front, k *keeper.Keeper) {
		f.setFault(fault{"unreachable", "login", time.Now().Add(time.Hour)})
		first, second := &countedBody{Reader: strings.NewReader("x")}, &countedBody{Reader: strings.NewReader("x")}
		req, _ := http.NewRequest("POST", modelURL+"/api/x", first)
		req.GetBody = func() (io.ReadCloser, error) { return second, nil }
		if got := do(k.Transport(f), req); !errors.Is(got.err, errUnreachable) {
			t.Errorf("got %+v, want the login's error", got)
		}
		f.allClosed(t, 1)
		third := &countedBody{Reader: strings.NewReader("x")}
		req, _ = http.NewRequest("POST", modelURL+"/api/x", third) // no session: it is not even sent
		if got := do(k.Transport(f), req); got.err == nil {
			t.Errorf("got %+v, want an error", got)
		}
		if first.closed != 1 || second.closed != 1 || third.closed != 1 {
			t.Errorf("the requests' bodies were closed %d, %d and %d times, want once each", first.closed, second.closed,
				third.closed)
		}
	})
}

func TestTheCallersRequestIsNotTouched(t *testing.T) {
	api := func(n int, _ string) (*http.Response, error) {
		if n == 1 {
			return answerWith(400, expired), nil
		}
		return answerWith(200, ""), nil
	}
	inFront(t, api, func(t *testing.T, f *front, k *keeper.Keeper) {
		type key struct{}
		ctx := context.WithValue(t.Context(), key{}, 1)
		req, _ := http.NewRequestWithContext(ctx, "POST", modelURL+"/api/x", strings.NewReader("payload"))
		req.Header = http.Header{"Authorization": {"mine"}, "X-Other": {"a", "b"}}
		header, was := maps.Clone(req.Header), *req
		resp, err := k.Transport(f).RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if !maps.EqualFunc(req.Header, header, func(a, b []string) bool { return fmt.Sprint(a) == fmt.Sprint(b) }) {
			t.Errorf("the header became %v", req.Header)
		}
		if req.Body != was.Body || req.URL != was.URL || req.Context() != ctx || req.Host != was.Host ||
			req.ContentLength != was.ContentLength {
			t.Error("the request was changed")
		}
		if resp.Request != req {
			t.Error("the answer names another request than the caller's, which holds the tokens")
		}
		bare := &http.Request{Method: "GET", URL: req.URL}
		if got := do(k.Transport(f), bare); got.err != nil || bare.Header != nil {
			t.Errorf("got %+v, and header %v, want the nil that it was", got, bare.Header)
		}
	})
}

func TestTokensGoToTheUpstreamOnly(t *testing.T) {
	api := func(int, string) (*http.Response, error) {
		resp := answerWith(302, "")
		resp.Header.Set("Location", "https://elsewhere.example/api")
		return resp, nil
	}
	inFront(t, api, func(t *testing.T, f *front, k *keeper.Keeper) {
		for _, url := range []string{
			"https://elsewhere.example/api", "http://upstream.example/api", "https://upstream.example:8443/api",
			"https://upstream.example.evil/api", "https://sub.upstream.example/api", "mailto:upstream.example",
		} {
			body := &countedBody{Reader: strings.NewReader("x")}
			req, err := http.NewRequest("POST", url, body)
			if err != nil {
				t.Fatal(err)
			}
			if got := do(k.Transport(f), req); got.err == nil || !strings.Contains(got.err.Error(), "not sent") {
				t.Errorf("%s: got %+v, want an error", url, got)
			}
			if body.closed != 1 {
				t.Errorf("%s: the body was closed %d times, want once", url, body.closed)
			}
		}
		if len(f.tokens) != 0 {
			t.Fatalf("%d requests were sent", len(f.tokens))
		}
		client := &http.Client{Transport: k.Transport(f)}
		resp, err := client.Get(modelURL + "/api/x")
		if err == nil {
			_ = resp.Body.Close()
			t.Error("a redirect to elsewhere was followed")
		}
		if len(f.tokens) != 1 {
			t.Errorf("%d requests were sent, want the one before the redirect", len(f.tokens))
		}
	})
}

func TestTheConnectionOfARefusedRequestIsUsedAgain(t *testing.T) {
	var mu sync.Mutex
	connections, requests := 0, 0
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		mu.Lock()
		requests++
		mu.Unlock()
		if r.Header.Get("Authorization") == "Bearer bearer-1" {
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, `{"fault":{"code":"900901","message":"`+strings.Repeat("no ", 1000)+`"}}`)
			return
		}
		_, _ = io.WriteString(w, "fine")
	}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			mu.Lock()
			connections++
			mu.Unlock()
		}
	}
	server.Start()
	defer server.Close()
	k := newKeeper(t, nil, keeper.Config{Upstream: &constant{url: server.URL}})
	for range 3 {
		resp, err := k.HTTPClient().Post(server.URL+"/api/x", "text/plain", strings.NewReader("payload"))
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if string(text) != "fine" {
			t.Errorf("got %d %q", resp.StatusCode, text)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if connections != 1 || requests != 4 {
		t.Errorf("%d connections for %d requests, want 1 for 4", connections, requests)
	}
}

// slowToForget is an Upstream that takes its time to forget a bearer.
type slowToForget struct{ keeper.Upstream }

func (u slowToForget) InvalidateAccessToken(token latchkey.Secret) {
	pass(10 * time.Millisecond)
	u.Upstream.InvalidateAccessToken(token)
}

func TestARefusedBearerIsForgottenBeforeAnotherIsFetched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newModel()
		k := newKeeper(t, m, keeper.Config{Upstream: slowToForget{newClient(t, m)}})
		rt := k.Transport(m)
		get(rt).ok(t)
		m.revokeBearer()
		var callers sync.WaitGroup
		for range 3 {
			callers.Go(func() { get(rt).ok(t) })
		}
		callers.Wait()
	})
}
