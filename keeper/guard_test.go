package keeper_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/keeper"
)

// attempts counts the logins that a keeper sends, whatever becomes of them.
type attempts struct {
	*model
	n int
}

func (a *attempts) RoundTrip(req *http.Request) (*http.Response, error) {
	if partOf(req.URL.Path) == "login" {
		a.n++ // one flight at a time
	}
	return a.model.RoundTrip(req)
}

// isLatched checks that a request gets a LatchedError that says what a person
// needs.
func isLatched(t *testing.T, got answer, strikes int) {
	t.Helper()
	var latched *keeper.LatchedError
	if !errors.As(got.err, &latched) {
		t.Errorf("got %+v, want a LatchedError", got)
		return
	}
	if latched.Strikes != strikes || latched.Since.IsZero() || latched.Reason == "" {
		t.Errorf("got %+v, want %d strikes, since when, and why", latched, strikes)
	}
	if !strings.Contains(latched.Hint(), "(latchkey guard reset)") || strings.Contains(latched.Error(), "Keeper.") ||
		!strings.Contains(latched.Error(), latched.Reason) {
		t.Errorf("%q does not say why and what to do", latched)
	}
}

func TestARefusedPasswordIsNeverTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, shared, src := newModel(), keeper.NewMemoryState(), newSource("wrong")
		for range 20 { // programs that are started again and again
			k := newKeeper(t, m, keeper.Config{State: shared, Credential: src})
			for range 20 {
				isLatched(t, get(k.Transport(m)), 1)
				pass(time.Minute)
			}
			closeKeeper(t, k)
		}
		if m.strikes != 1 || m.logIns != 1 {
			t.Errorf("%d strikes, want 1", m.strikes)
		}
		k := newKeeper(t, m, keeper.Config{State: shared, Credential: src})
		src.set("right")
		pass(6 * time.Second)
		get(k.Transport(m)).ok(t)
		if s, err := k.Status(t.Context()); err != nil || s.Strikes != 0 || s.Latched != nil {
			t.Errorf("after a login that succeeded: %+v, %v", s, err)
		}
	})
}

func TestTheErrorOfARefusedLoginIsReturned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newModel()
		k := newKeeper(t, m, keeper.Config{Credential: newSource("wrong")})
		if got := get(k.Transport(m)); !errors.Is(got.err, latchkey.ErrInvalidCredentials) {
			t.Errorf("got %v, want it to wrap ErrInvalidCredentials", got.err)
		}
		m = newModel()
		m.locked = true
		k = newKeeper(t, m, keeper.Config{})
		if got := get(k.Transport(m)); !errors.Is(got.err, latchkey.ErrAccountLocked) {
			t.Errorf("got %v, want it to wrap ErrAccountLocked", got.err)
		}
	})
}

func TestASecondWrongPasswordIsTheLastOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, src := newModel(), newSource("wrong")
		k := newKeeper(t, m, keeper.Config{Credential: src})
		rt := k.Transport(m)
		isLatched(t, get(rt), 1)
		src.set("worse")
		pass(time.Minute)
		isLatched(t, get(rt), 2)
		src.set("right")
		pass(time.Minute)
		isLatched(t, get(rt), 2)
		if m.strikes != 2 {
			t.Errorf("%d strikes, want 2", m.strikes)
		}
		if err := k.ResetGuard(t.Context()); err != nil {
			t.Fatal(err)
		}
		get(rt).ok(t) // at once
	})
}

func TestUnclearOutcomesLatchAtTwo(t *testing.T) {
	for _, kind := range []string{"hang", "cut", "lost", "5xx", "html"} {
		t.Run(kind, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := &attempts{model: newModel()}
				a.timedStrikes = true
				a.setFault(fault{kind, "login", time.Now().Add(2 * time.Hour)})
				k := newKeeper(t, a, keeper.Config{})
				rt := k.Transport(a)
				began := time.Now()
				for time.Since(began) < time.Hour {
					if got := get(rt); got.err == nil {
						t.Errorf("got %+v, want an error", got)
					}
					pass(time.Second)
				}
				isLatched(t, get(rt), 2)
				if a.n != 2 {
					t.Errorf("%d logins were sent, want 2", a.n)
				}
				if err := k.ResetGuard(t.Context()); err != nil {
					t.Fatal(err)
				}
				pass(2 * time.Hour)
				get(rt).ok(t)
			})
		})
	}
}

func TestAnOutageCostsOneStrikeAndRecoversByItself(t *testing.T) {
	for _, kind := range []string{"hang", "cut", "5xx", "html"} {
		t.Run(kind, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := &attempts{model: newModel()}
				k := newKeeper(t, a, keeper.Config{})
				if _, err := k.TokenSource().Token(); err != nil { // the bearer is there before the outage
					t.Fatal(err)
				}
				a.setFault(fault{kind, "", time.Now().Add(30 * time.Minute)})
				for range 31 * 60 {
					get(k.Transport(a))
					pass(time.Second)
				}
				pass(2 * time.Minute)
				get(k.Transport(a)).ok(t)
				if a.n != 2 {
					t.Errorf("%d logins were sent, want one in the outage and one after it", a.n)
				}
			})
		})
	}
}

func TestWhatNoServiceSawIsNoStrike(t *testing.T) {
	for _, kind := range []string{"unreachable", "throttled", "forbidden"} {
		t.Run(kind, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newModel()
				m.setFault(fault{kind, "login", time.Now().Add(time.Hour)})
				k := newKeeper(t, m, keeper.Config{})
				for began := time.Now(); time.Since(began) < 59*time.Minute; {
					var latched *keeper.LatchedError
					if got := get(k.Transport(m)); got.err == nil || errors.As(got.err, &latched) {
						t.Errorf("got %+v, want the reason, and no latch", got)
					}
					pass(time.Second)
				}
				if s, err := k.Status(t.Context()); err != nil || s.Strikes != 0 {
					t.Errorf("got %+v, %v, want no strike", s, err)
				}
				pass(2 * time.Minute)
				get(k.Transport(m)).ok(t)
			})
		})
	}
}

func TestABearerRefusedAtTheLoginIsNoStrike(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newModel()
		k := newKeeper(t, m, keeper.Config{})
		if _, err := k.TokenSource().Token(); err != nil {
			t.Fatal(err)
		}
		m.revokeBearer()
		get(k.Transport(m)).ok(t)
		if m.logIns != 1 {
			t.Errorf("%d logins were evaluated, want 1", m.logIns)
		}
	})
}

func TestWhileLatchedTheSessionGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, shared, src := newModel(), keeper.NewMemoryState(), newSource("right")
		a := newKeeper(t, m, keeper.Config{State: shared, Credential: src})
		b := newKeeper(t, m, keeper.Config{State: shared, Credential: src})
		get(a.Transport(m)).ok(t)
		tokens, err := b.Tokens(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		pass(10 * time.Minute)
		src.set("wrong")
		b.Invalidate(tokens.Session) // mistakenly
		isLatched(t, get(b.Transport(m)), 1)
		for range 10 {
			get(a.Transport(m)).ok(t)
			pass(15 * time.Minute)
		}
		if s, err := a.Status(t.Context()); err != nil || !s.Live || s.Latched == nil {
			t.Errorf("got %+v, %v, want a live session and a latch", s, err)
		}
	})
}

func TestAnAttemptThatCannotBeRecordedIsNotMade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newModel()
		p := startProcess(t, m, keeper.NewMemoryState(), newSource("right"), nil)
		p.diskFull = time.Now().Add(time.Hour)
		for range 100 {
			if got := get(p.rt); !errors.Is(got.err, errDisk) {
				t.Errorf("got %+v, want the disk's error", got)
			}
			pass(10 * time.Second)
		}
		if m.logIns != 0 {
			t.Errorf("%d logins, want none", m.logIns)
		}
		pass(time.Hour)
		get(p.rt).ok(t)
	})
}

func TestAnAttemptWhoseMakerDiedCountsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, shared, src := newModel(), keeper.NewMemoryState(), newSource("right")
		kill := func() {
			p := startProcess(t, m, shared, src, nil)
			go get(p.rt)
			for begin := time.Now(); ; pass(time.Millisecond) {
				m.mu.Lock()
				flying := m.inFlight
				m.mu.Unlock()
				if flying > 0 {
					break
				}
				if time.Since(begin) > 5*time.Minute {
					t.Fatal("no login was sent")
				}
			}
			p.kill(context.Background())
			closeKeeper(t, p.keeper)
			pass(time.Second)
		}
		kill()
		k := newKeeper(t, m, keeper.Config{State: shared, Credential: src})
		for range 5 {
			if got := get(k.Transport(m)); got.err == nil || !strings.Contains(got.err.Error(), "next login may be made at") {
				t.Errorf("got %+v, want to be notified when the next login may be made", got)
			}
		}
		if s, err := k.Status(t.Context()); err != nil || s.Strikes != 1 {
			t.Errorf("got %+v, %v, want one strike", s, err)
		}
		pass(11 * time.Second)
		get(k.Transport(m)).ok(t)
		if err := k.LogOut(t.Context()); err != nil {
			t.Fatal(err)
		}
		kill()
		pass(time.Minute)
		kill()
		isLatched(t, get(newKeeper(t, m, keeper.Config{State: shared, Credential: src}).Transport(m)), 2)
	})
}
