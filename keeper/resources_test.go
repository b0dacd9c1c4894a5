package keeper_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey/latchkey/internal/wire"
	"github.com/latchkey/latchkey/keeper"
)

// poisoned is a model with resources that refuse whatever tokens they are sent.
// What the session API itself says, it says truly.
type poisoned struct {
	*model

	mu      sync.Mutex
	refusal map[string]wire.PublishedRefusal // by path
}

func poison(m *model, form string, paths ...string) *poisoned {
	p := &poisoned{model: m, refusal: map[string]wire.PublishedRefusal{}}
	p.set(form, paths...)
	return p
}

// set poisons paths, or heals them if form is empty.
func (p *poisoned) set(form string, paths ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, path := range paths {
		if form == "" {
			delete(p.refusal, path)
			continue
		}
		found, ok := wire.FindRefusal(form)
		if !ok {
			panic("no form " + form)
		}
		p.refusal[path] = found
	}
}

func (p *poisoned) RoundTrip(req *http.Request) (*http.Response, error) {
	p.mu.Lock()
	found, ok := p.refusal[req.URL.Path]
	p.mu.Unlock()
	resp, err := p.model.RoundTrip(req)
	if err == nil && ok {
		resp = respond(req, found.Status, found.Body)
	}
	if err == nil && req.Method == http.MethodHead {
		resp.Body = http.NoBody
	}
	return resp, err
}

// ask sends a request for a path.
func ask(rt http.RoundTripper, method, path string) (answer, *http.Response) {
	req, err := http.NewRequestWithContext(context.Background(), method, modelURL+path, http.NoBody)
	if err != nil {
		return answer{err: err}, nil
	}
	var resp *http.Response
	got := do(roundTripper(func(req *http.Request) (*http.Response, error) {
		var err error
		resp, err = rt.RoundTrip(req)
		return resp, err
	}), req)
	return got, resp
}

// One user hammers a resource that refuses good tokens. No other user notices, and
// logins and access tokens stay bounded.
func TestAResourceThatRefusesGoodTokensIsItsUsersAlone(t *testing.T) {
	const bad, worse = "/api/m2m/v1/bad", "/api/m2m/v1/worse"
	for _, form := range []string{"session-expired", "location", "cloud-connector-session", "diagnostics", "numeric",
		"bearer-invalid", "hyper-precise"} {
		for _, every := range []time.Duration{100 * time.Millisecond, 500 * time.Millisecond, 5 * time.Second} {
			for _, others := range []int{0, 2, 10} {
				oneSession := others != 10
				name := fmt.Sprintf("%s/every %v/%d others", form, every, others)
				t.Run(name, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						m := newModel()
						m.oneSession = oneSession
						p := poison(m, form, bad, worse)
						k := newKeeper(t, p, keeper.Config{})
						rt := k.Transport(p)
						get(rt).ok(t)
						pass(10 * time.Minute)
						var over atomic.Bool
						own := 0
						var working sync.WaitGroup
						working.Go(func() {
							for n := 0; !over.Load(); n++ { // two resources in turn
								path := []string{bad, worse}[n%2]
								got, resp := ask(rt, "POST", path)
								if got.err != nil || got.status != p.refusal[path].Status {
									t.Errorf("the resource's own user got %+v", got)
								}
								if resp != nil && keeper.RefusesRequest(resp) {
									own++
								}
								pass(every)
							}
						})
						for n := range others {
							working.Go(func() {
								for !over.Load() {
									if got, _ := ask(rt, "GET", fmt.Sprintf("/api/m2m/v1/devices/%d", n)); got.status != 200 {
										t.Errorf("another user got %+v", got)
									}
									pass(700 * time.Millisecond)
								}
							})
						}
						pass(2 * time.Minute)
						synctest.Wait()
						over.Store(true)
						working.Wait()
						logIns, tokens := 10, 130
						if others > 0 {
							logIns, tokens = 4, 12
						}
						if m.logIns > logIns || m.tokenCalls > tokens || own == 0 {
							t.Errorf("%d logins and %d access tokens in two minutes (bounds: %d, %d); %d refusals were the request's own",
								m.logIns, m.tokenCalls, logIns, tokens, own)
						}
						// The session ends for good, and so does the bearer.
						logIns = m.logIns
						m.endSessions()
						m.revokeBearer()
						began := time.Now()
						got := get(rt)
						for got.status != 200 && time.Since(began) < time.Minute {
							pass(time.Second)
							got = get(rt)
						}
						if got.ok(t); time.Since(began) > 3*time.Second && others > 0 {
							t.Errorf("the end of the session was found after %v", time.Since(began))
						}
						if m.logIns != logIns+1 {
							t.Errorf("%d logins after the end, want one", m.logIns-logIns)
						}
					})
				})
			}
		}
	}
}

// A user who finds ever new resources that refuse costs a login a minute, and the
// others nothing.
func TestEverNewResourcesThatRefuseGoodTokensAreBounded(t *testing.T) {
	for _, form := range []string{"session-expired", "bearer-invalid", "edge"} {
		synctest.Test(t, func(t *testing.T) {
			m := newModel()
			p := poison(m, form)
			rt := newKeeper(t, p, keeper.Config{}).Transport(p)
			get(rt).ok(t)
			pass(10 * time.Minute)
			for n := range 1200 {
				path := fmt.Sprint("/api/m2m/v1/bad/", n)
				p.set(form, path)
				if got, _ := ask(rt, "GET", path); got.err != nil || got.status < 400 {
					t.Errorf("%s: the user got %+v", form, got)
				}
				get(rt).ok(t)
				pass(250 * time.Millisecond)
			}
			if m.logIns > 13 || m.tokenCalls > 330 { // in five minutes
				t.Errorf("%s: %d logins and %d access tokens", form, m.logIns, m.tokenCalls)
			}
		})
	}
}

// A session that ends is renewed although only a resource asks that was wrong
// before.
func TestTheEndOfASessionIsFoundByAResourceThatWasWrong(t *testing.T) {
	for _, method := range []string{"GET", "HEAD"} {
		synctest.Test(t, func(t *testing.T) {
			const path = "/api/m2m/v1/devices"
			m := newModel()
			p := poison(m, "session-expired", path)
			rt := newKeeper(t, p, keeper.Config{}).Transport(p)
			until := func(limit time.Duration) {
				t.Helper()
				began := time.Now()
				for got, _ := ask(rt, method, path); got.status != 200; got, _ = ask(rt, method, path) {
					if time.Since(began) > limit {
						t.Fatalf("%s: got %+v after %v", method, got, limit)
					}
					pass(500 * time.Millisecond)
				}
			}
			for range 20 {
				ask(rt, method, path)
				pass(500 * time.Millisecond)
			}
			if m.logIns > 2 {
				t.Errorf("%s: %d logins for a resource that refuses", method, m.logIns)
			}
			p.set("", path)
			until(0) // the session lives
			pass(time.Minute)
			logIns := m.logIns
			m.endSessions()
			until(time.Second)
			if m.logIns != logIns+1 {
				t.Errorf("%s: %d logins for the end of a session", method, m.logIns-logIns)
			}
			// And if it is healed only when the session has ended.
			pass(10 * time.Minute)
			p.set("session-expired", path)
			for range 4 {
				ask(rt, method, path)
				pass(500 * time.Millisecond)
			}
			p.set("", path)
			m.endSessions()
			logIns = m.logIns
			until(time.Minute)
			if m.logIns != logIns+1 {
				t.Errorf("%s: %d logins for the end of a session", method, m.logIns-logIns)
			}
		})
	}
}

// While no login is made, a session that one resource refuses is used on.
func TestACondemnedSessionIsUsedWhileTheGuardIsLatched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const bad = "/api/m2m/v1/bad"
		m := newModel()
		p := poison(m, "session-expired", bad)
		source := newSource("right")
		rt := newKeeper(t, p, keeper.Config{Credential: source}).Transport(p)
		get(rt).ok(t)
		pass(10 * time.Minute)
		source.set("wrong")
		for range 60 {
			if got, _ := ask(rt, "GET", bad); got.err == nil && got.status != 400 {
				t.Errorf("the resource's own user got %+v", got)
			}
			for range 3 {
				get(rt).ok(t)
				pass(300 * time.Millisecond)
			}
		}
		if m.maxStrikes != 1 {
			t.Errorf("%d strikes", m.maxStrikes)
		}
		// It ends for good: no caller gets it as a live one.
		m.endSessions()
		if got := get(rt); got.err == nil {
			t.Errorf("got %+v of a dead session, want the latch", got)
		}
	})
	// A login that hangs does not hold up those whose requests succeed.
	synctest.Test(t, func(t *testing.T) {
		const bad = "/api/m2m/v1/bad"
		m := newModel()
		p := poison(m, "session-expired", bad)
		rt := newKeeper(t, p, keeper.Config{}).Transport(p)
		get(rt).ok(t)
		pass(10 * time.Minute)
		m.setFault(fault{"hang", "login", time.Now().Add(time.Minute)})
		go ask(rt, "GET", bad)
		pass(100 * time.Millisecond)
		for range 10 {
			began := time.Now()
			get(rt).ok(t)
			if took := time.Since(began); took > 3*time.Second {
				t.Errorf("another request took %v", took)
			}
			pass(time.Second)
		}
		pass(2 * time.Minute)
	})
}

// A 400 to HEAD may mean anything. It costs one login at most, whatever follows.
func TestA400ToHeadIsSettledByOneRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newModel()
		p := poison(m, "session-expired", "/api/a", "/api/b", "/api/c")
		k := newKeeper(t, p, keeper.Config{})
		rt := k.Transport(p)
		get(rt).ok(t)
		pass(10 * time.Minute)
		for n := range 40 {
			path := []string{"/api/a", "/api/b", "/api/c"}[n%3]
			got, resp := ask(rt, "HEAD", path)
			if got.err != nil || got.status != 400 || keeper.RefusesToken(resp) || keeper.RefusesRequest(resp) {
				t.Errorf("got %+v, want the 400", got)
			}
			pass(time.Second)
		}
		if m.logIns != 2 {
			t.Errorf("%d logins, want one at the beginning and one to settle the doubt", m.logIns)
		}
		pass(5 * time.Minute)
		m.endSessions()
		if got, _ := ask(rt, "HEAD", "/api/m2m/v1/devices"); got.status != 200 || m.logIns != 3 {
			t.Errorf("after the end of the session: %+v with %d logins, want one more", got, m.logIns)
		}
		// What is refused is no use of the session.
		m.setFault(fault{"5xx", "login", time.Now().Add(time.Hour)})
		m.endSessions()
		ended := time.Now()
		for range 25 {
			ask(rt, "HEAD", "/api/m2m/v1/devices")
			pass(time.Minute)
		}
		if status, err := k.Status(t.Context()); err != nil || status.LastUse.After(ended.Add(20*time.Second)) ||
			status.Live {
			t.Errorf("the session, dead since %v, was used last at %v (live: %t, %v)", ended, status.LastUse, status.Live, err)
		}
	})
}

// The tokens in a response that repeats them are in no log and no event.
func TestARefusalThatRepeatsTheTokensIsReportedWithoutThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newModel()
		var session, bearer string
		up := roundTripper(func(req *http.Request) (*http.Response, error) {
			resp, err := m.RoundTrip(req)
			if err == nil && req.URL.Path == "/api/bad" {
				session, bearer = req.Header.Get("Vz-M2m-Token"), strings.TrimPrefix(req.Header.Get("Authorization"), "Bearer ")
				resp = respond(req, 400, fmt.Sprintf(
					`{"errorCode":"X.REQUEST_FAILED.SessionToken.Expired","errorMessage":"session %s of %s is over"}`, session,
					bearer))
				resp.Header.Set("X-Request-Id", "of-"+session)
			}
			return resp, err
		})
		var log bytes.Buffer
		reported := false
		k := newKeeper(t, up, keeper.Config{Log: slog.New(slog.NewTextHandler(&log, nil)), OnEvent: func(e keeper.Event) {
			reported = reported || e.Kind == keeper.EventRequestRefused
			if text := fmt.Sprintf("%v %+v", e.Err, e); session != "" &&
				(strings.Contains(text, session) || strings.Contains(text, bearer)) {
				t.Errorf("an event holds a token: %s", text)
			}
		}})
		rt := k.Transport(up)
		get(rt).ok(t)
		pass(10 * time.Minute)
		for range 3 {
			ask(rt, "GET", "/api/bad")
		}
		if text := log.String(); !reported || strings.Contains(text, session) || strings.Contains(text, bearer) {
			t.Errorf("reported: %v, log: %s", reported, text)
		}
	})
}
