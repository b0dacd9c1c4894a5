package keeper_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey/latchkey/keeper"
)

func TestAnyNumberOfCallersShareOneLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newModel()
		k := newKeeper(t, m, keeper.Config{})
		rt := k.Transport(m)
		var callers sync.WaitGroup
		for range 200 {
			callers.Go(func() { get(rt).ok(t) })
		}
		callers.Wait()
		if m.logIns != 1 || m.tokenCalls != 1 {
			t.Errorf("%d logins and %d access tokens, want 1 and 1", m.logIns, m.tokenCalls)
		}
	})
}

func TestCallersShareAFailureForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newModel()
		m.setFault(fault{"unreachable", "login", time.Now().Add(10 * time.Minute)})
		failed := 0
		k := newKeeper(t, m, keeper.Config{OnEvent: func(e keeper.Event) {
			if e.Kind == keeper.EventLogInFailed {
				failed++ // one flight at a time
			}
		}})
		rt := k.Transport(m)
		var callers sync.WaitGroup
		for range 50 {
			callers.Go(func() {
				if got := get(rt); !errors.Is(got.err, errUnreachable) {
					t.Errorf("got %+v, want the reason", got)
				}
			})
		}
		callers.Wait()
		if failed != 1 {
			t.Errorf("%d attempts for callers at the same time, want 1", failed)
		}
		began := time.Now()
		for time.Since(began) < 9*time.Minute {
			if got := get(rt); !errors.Is(got.err, errUnreachable) {
				t.Errorf("got %+v, want the reason", got)
			}
			pass(100 * time.Millisecond)
		}
		if failed < 9 || failed > 25 {
			t.Errorf("%d attempts in nine minutes, want them to become rare", failed)
		}
		pass(3 * time.Minute)
		get(rt).ok(t)
	})
}

func TestACallerLeavesAndTheLoginGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newModel()
		m.latency = 5 * time.Second
		k := newKeeper(t, m, keeper.Config{})
		rt := k.Transport(m)
		ctx, cancel := context.WithCancelCause(t.Context())
		reason := errors.New("the user went away")
		var callers sync.WaitGroup
		callers.Go(func() {
			began := time.Now()
			if got := send(ctx, rt, "GET", "", true); !errors.Is(got.err, reason) || time.Since(began) > time.Second {
				t.Errorf("got %+v after %v, want the cause at once", got, time.Since(began))
			}
		})
		synctest.Wait() // the first caller has started the login
		callers.Go(func() { get(rt).ok(t) })
		synctest.Wait()
		cancel(reason)
		callers.Wait()
		if m.logIns != 1 {
			t.Errorf("%d logins, want the one that went on", m.logIns)
		}
	})
}

func TestALoginThatHangsEndsByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newModel()
		m.setFault(fault{"hang", "", time.Now().Add(time.Hour)})
		k := newKeeper(t, m, keeper.Config{})
		began := time.Now()
		if got := get(k.Transport(m)); got.err == nil || time.Since(began) > 2*time.Minute {
			t.Errorf("got %+v after %v, want an error in time", got, time.Since(began))
		}
	})
}

func TestASessionIsRenewedAheadOfTheRequestWhenItHasIdled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newModel()
		k := newKeeper(t, m, keeper.Config{})
		rt := k.Transport(m)
		for range 10 {
			get(rt).ok(t)
			pass(19 * time.Minute)
		}
		if m.logIns != 1 {
			t.Errorf("%d logins while the session was in use, want 1", m.logIns)
		}
		pass(time.Minute)
		get(rt).ok(t)
		if stats := k.Stats(); m.logIns != 2 || stats[keeper.EventSessionRefused] != 0 || stats[keeper.EventReplay] != 0 {
			t.Errorf("%d logins, %v; want 2, and nothing refused", m.logIns, stats)
		}
	})
}

func TestAnUpstreamThatIsAwayCausesNoLogins(t *testing.T) {
	for _, kind := range []string{"unreachable", "cut", "5xx", "html", "throttled"} {
		t.Run(kind, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newModel()
				k := newKeeper(t, m, keeper.Config{})
				rt := k.Transport(m)
				get(rt).ok(t)
				over := time.Now().Add(15 * time.Minute)
				m.setFault(fault{kind, "", over})
				for time.Until(over) > time.Second {
					if got := get(rt); got.status == http.StatusOK {
						t.Errorf("got %+v from an upstream that is away", got)
					}
					pass(500 * time.Millisecond)
				}
				pass(3 * time.Second)
				get(rt).ok(t)
				if m.logIns != 1 {
					t.Errorf("%d logins, want the one before the outage", m.logIns)
				}
			})
		})
	}
}

// A day of mixed traffic: requests from second to second and breaks of hours,
// sessions that others end, bearers that others revoke.
func TestADayLogsInAsOftenAsTheRulesDemand(t *testing.T) {
	for seed := range uint64(5) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 0))
			m := newModel()
			k := newKeeper(t, m, keeper.Config{})
			rt := k.Transport(m)
			// The rule: one login at first, one after each break of the idle
			// timeout, and one after each end of the session by others.
			want, refused, revoked, requests := 1, uint64(0), 0, 0
			get(rt).ok(t)
			for begin := time.Now(); time.Since(begin) < 24*time.Hour; {
				var gap time.Duration
				switch dice := random.IntN(1000); {
				case dice < 970:
					gap = time.Duration(random.IntN(20_000)) * time.Millisecond
				case dice < 995:
					gap = time.Duration(random.IntN(19*60)) * time.Second
				default:
					gap = 20*time.Minute + time.Duration(random.IntN(3600))*time.Second
				}
				ended := random.IntN(300) == 0 && gap > time.Second
				switch {
				case ended:
					pass(6 * time.Minute) // so that it is an ordinary end
					get(rt).ok(t)
					m.endSessions()
				case random.IntN(150) == 0:
					m.revokeBearer()
					revoked++
				}
				pass(gap)
				switch {
				case gap >= 20*time.Minute:
					want++
				case ended:
					want++
					refused++
				}
				var callers sync.WaitGroup
				for range 1 + random.IntN(3) {
					requests++
					callers.Go(func() { get(rt).ok(t) })
				}
				callers.Wait()
			}
			stats := k.Stats()
			if m.logIns != want || stats[keeper.EventSessionRefused] != refused {
				t.Errorf("seed %d: %d logins and %d refused sessions, want %d and %d", seed, m.logIns,
					stats[keeper.EventSessionRefused], want, refused)
			}
			if got := stats[keeper.EventBearerRefused]; got > uint64(revoked) {
				t.Errorf("seed %d: %d bearers were refused, and %d revoked: the others should have been renewed ahead", seed,
					got, revoked)
			}
			if requests < 3000 || want < 5 || refused == 0 || revoked == 0 {
				t.Errorf("seed %d: %d requests, %d logins, %d ends, %d revocations are no mixed day", seed, requests, want,
					refused, revoked)
			}
		})
	}
}

func TestLogOutEndsTheSessionForAllKeepers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, shared := newModel(), keeper.NewMemoryState()
		a := newKeeper(t, m, keeper.Config{State: shared})
		b := newKeeper(t, m, keeper.Config{State: shared})
		get(a.Transport(m)).ok(t)
		get(b.Transport(m)).ok(t)
		if m.logIns != 1 {
			t.Errorf("%d logins for two keepers of one state, want 1", m.logIns)
		}
		pass(10 * time.Minute)
		if err := a.LogOut(t.Context()); err != nil {
			t.Fatal(err)
		}
		if len(m.sessions) != 0 {
			t.Error("the upstream still has the session")
		}
		get(b.Transport(m)).ok(t)
		get(a.Transport(m)).ok(t)
		if m.logIns != 2 {
			t.Errorf("%d logins, want 2", m.logIns)
		}
		if err := a.LogOut(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := a.LogOut(t.Context()); err != nil {
			t.Errorf("a second LogOut: %v", err)
		}
	})
}

func TestCloseWaitsForTheLoginAndKeepsTheSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, shared := newModel(), keeper.NewMemoryState()
		m.latency = time.Second
		k := newKeeper(t, m, keeper.Config{State: shared})
		var caller sync.WaitGroup
		caller.Go(func() {
			if _, err := k.Tokens(t.Context()); !errors.Is(err, keeper.ErrClosed) {
				t.Errorf("got %v, want ErrClosed", err)
			}
		})
		synctest.Wait()
		short, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if err := k.Close(short); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Close returned %v while a login is under way, want the deadline", err)
		}
		closeKeeper(t, k)
		if m.inFlight != 0 || m.logIns != 1 {
			t.Errorf("%d logins in flight after Close, %d evaluated; want 0 and 1", m.inFlight, m.logIns)
		}
		caller.Wait()
		if _, err := k.Tokens(t.Context()); !errors.Is(err, keeper.ErrClosed) {
			t.Errorf("got %v, want ErrClosed", err)
		}
		get(newKeeper(t, m, keeper.Config{State: shared}).Transport(m)).ok(t)
		if m.logIns != 1 {
			t.Errorf("%d logins, want the next keeper to go on with the session", m.logIns)
		}
	})
}

func TestTokensAndInvalidateServeRequestsThatGoAnotherWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newModel()
		k := newKeeper(t, m, keeper.Config{})
		first, err := k.Tokens(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		pass(10 * time.Minute)
		m.endSessions()
		k.Invalidate(first.Session)
		second, err := k.Tokens(t.Context())
		if err != nil || second.Session.Equal(first.Session) || !second.Bearer.Equal(first.Bearer) {
			t.Errorf("got %v, want another session and the same bearer", err)
		}
		k.Invalidate(first.Session) // a latecomer
		m.revokeBearer()
		k.Invalidate(second.Bearer)
		third, err := k.Tokens(t.Context())
		if err != nil || !third.Session.Equal(second.Session) || third.Bearer.Equal(second.Bearer) {
			t.Errorf("got %v, want the same session and another bearer", err)
		}
		token, err := k.TokenSource().Token()
		if err != nil || token.AccessToken != third.Bearer.Reveal() || !token.Expiry.Equal(third.BearerExpiresAt) ||
			token.Type() != "Bearer" {
			t.Errorf("the token source returns another token (%v)", err)
		}
	})
}

// The login replaces a revoked bearer in the upstream's client; the keeper, which
// did not see that, meets it there when it may be revoked again.
func TestABearerThatTheClientHeldIsRenewedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newModel()
		rt := newKeeper(t, m, keeper.Config{}).Transport(m)
		get(rt).ok(t)
		pass(time.Second)
		m.revokeBearer()
		pass(21 * time.Minute)
		if got := send(t.Context(), rt, "POST", "once", false); got.status != http.StatusUnauthorized {
			t.Errorf("got %+v, want the refusal, since the request cannot be sent again", got)
		}
		pass(time.Second)
		m.revokeBearer()
		pass(10 * time.Minute)
		get(rt).ok(t)
	})
}

// Where the upstream refuses every bearer, the requests for others are bounded.
func TestRefusedBearersAreRenewedOnceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newModel()
		k := newKeeper(t, m, keeper.Config{})
		rt := k.Transport(roundTripper(func(req *http.Request) (*http.Response, error) {
			return respond(req, 401, `{"fault":{"code":"900901","message":"Invalid Credentials"}}`), nil
		}))
		for began := time.Now(); time.Since(began) < 10*time.Second; pass(10 * time.Millisecond) {
			if got := get(rt); got.err != nil || got.status != http.StatusUnauthorized {
				t.Fatalf("got %+v, want the refusal", got)
			}
		}
		if m.tokenCalls < 8 || m.tokenCalls > 13 {
			t.Errorf("%d access tokens were asked for in ten seconds, want about ten", m.tokenCalls)
		}
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }
