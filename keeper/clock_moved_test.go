package keeper_test

import (
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/keeper"
)

// wall is a clock that can be set, and has nothing but what it shows: no monotonic
// reading shows that it was set.
type wall struct{ ahead atomic.Int64 }

func (w *wall) now() time.Time { return time.Now().Round(0).Add(time.Duration(w.ahead.Load())) }

func (w *wall) set(ahead time.Duration) { w.ahead.Store(int64(ahead)) }

// jumps are the ways in which a clock is set while a program runs.
var jumps = []time.Duration{
	time.Minute, -time.Minute, 90 * time.Minute, -90 * time.Minute, 3 * day, -3 * day, 20 * 365 * day, -20 * 365 * day,
}

func TestAClockThatIsSetWhileTheKeeperRunsCostsOneLoginAtMost(t *testing.T) {
	for _, by := range jumps {
		for _, back := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				m, w := newModel(), &wall{}
				k := newKeeper(t, m, keeper.Config{Now: w.now})
				rt := k.Transport(m)
				for i := range 40 {
					switch {
					case i == 10:
						w.set(by)
					case i == 20 && back:
						w.set(0)
					}
					get(rt).ok(t)
					pass(5 * time.Minute)
				}
				most := 2 // one more, since the session may seem to have been idle
				if back {
					most++
				}
				if m.logIns > most {
					t.Errorf("set by %v, and back %t: %d logins, want %d at most", by, back, m.logIns, most)
				}
				// The session's end is noticed by the clock as it is now.
				refused := k.Stats()[keeper.EventSessionRefused]
				pass(21 * time.Minute)
				get(rt).ok(t)
				if k.Stats()[keeper.EventSessionRefused] != refused {
					t.Errorf("set by %v, and back %t: the idle session was used", by, back)
				}
			})
		}
	}
}

// A failure makes callers wait as long as it does, whatever is done to the clock.
func TestAClockThatIsSetDuringAWaitMakesItNoLonger(t *testing.T) {
	for _, by := range jumps {
		for _, kind := range []string{"cut", "throttled", "unreachable"} {
			synctest.Test(t, func(t *testing.T) {
				m, w := newModel(), &wall{}
				k := newKeeper(t, m, keeper.Config{Now: w.now})
				rt := k.Transport(m)
				m.setFault(fault{kind, "login", time.Now().Add(time.Second)})
				if got := get(rt); got.err == nil {
					t.Errorf("got %+v, want the fault", got)
				}
				pass(2 * time.Second)
				w.set(by)
				for range 11 { // the first result is as before, and the second call begins to count
					get(rt)
					pass(time.Second + time.Millisecond)
				}
				get(rt).ok(t)
			})
		}
	}
}

// The clock of the client is that of the keeper, unless it has one of its own.
func TestTheKeeperFollowsTheClockOfItsClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, w := newModel(), &wall{}
		client, err := latchkey.NewClient(latchkey.Config{
			BaseURL: modelURL, APIKey: "key", APISecret: "api-secret", HTTPClient: &http.Client{Transport: m}, Now: w.now,
		})
		if err != nil {
			t.Fatal(err)
		}
		var at time.Time
		k := newKeeper(t, m, keeper.Config{Upstream: client, OnEvent: func(e keeper.Event) { at = e.Time }})
		w.set(day)
		if _, err := k.Tokens(t.Context()); err != nil {
			t.Fatal(err)
		}
		if !at.Equal(w.now()) {
			t.Errorf("an event of %v, and the clock says %v", at, w.now())
		}
	})
}

// With a clock that stands still until it is moved, nothing waits for a timer: the
// next request already finds the session dead and the bearer over.
func TestAMovedClockIsNoticedByTheNextRequest(t *testing.T) {
	for _, share := range []keeper.State{keeper.NewMemoryState(), newDurable()} {
		m, store := newModel(), newStore(t, t.TempDir())
		m.latency = time.Nanosecond
		var moved atomic.Int64
		start := time.Now()
		now := func() time.Time { return start.Add(time.Duration(moved.Load())) }
		config := keeper.Config{Now: now, State: share, Credential: store}
		if _, memory := share.(*keeper.MemoryState); !memory {
			config.Credential, config.Rotation = nil, &keeper.Rotation{Store: store, Every: 30 * day}
		}
		k := newKeeper(t, m, config)
		request := func() {
			t.Helper()
			if _, err := k.Tokens(t.Context()); err != nil {
				t.Error(err)
			}
		}
		request()
		request()
		for n := 2; n <= 3; n++ {
			moved.Add(int64(20 * time.Minute))
			request()
			if m.logIns != n {
				t.Errorf("%d logins after %d times twenty minutes", m.logIns, n-1)
			}
		}
		if stats := k.Stats(); stats[keeper.EventBearer] != 1 {
			t.Errorf("%d bearers in forty minutes, want 1", stats[keeper.EventBearer])
		}
		moved.Add(int64(time.Hour))
		request()
		if stats := k.Stats(); stats[keeper.EventBearer] != 2 {
			t.Errorf("%d bearers in a hundred minutes, want 2", stats[keeper.EventBearer])
		}
	}
}
