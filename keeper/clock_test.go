package keeper_test

import (
	"context"
	"errors"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/keeper"
)

// aheads are how far a clock was wrong until it was put right.
var aheads = []time.Duration{time.Second, 5 * time.Minute, time.Hour, 36 * time.Hour, 20 * 365 * day}

// aheadState is what a host writes into a State whose clock is ahead: every time that
// is saved, and the last use. Right is called when the clock is put right.
type aheadState struct {
	keeper.State
	mu sync.Mutex
	by time.Duration
}

func (s *aheadState) right() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.by = 0
}

func (s *aheadState) ahead() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.by
}

func (s *aheadState) Touch(ctx context.Context, at time.Time) error {
	return s.State.Touch(ctx, at.Add(s.ahead()))
}

func (s *aheadState) Acquire(ctx context.Context) (keeper.Lease, error) {
	lease, err := s.State.Acquire(ctx)
	return aheadLease{lease, s}, err
}

type aheadLease struct {
	keeper.Lease
	state *aheadState
}

var moment = regexp.MustCompile(`"[0-9]{4}-[0-9]{2}-[0-9]{2}T[^"]*"`)

func (l aheadLease) Save(ctx context.Context, data latchkey.Secret) error {
	by := l.state.ahead()
	return l.Lease.Save(ctx, latchkey.Secret(moment.ReplaceAllStringFunc(data.Reveal(), func(text string) string {
		at, err := time.Parse(`"`+time.RFC3339Nano+`"`, text)
		if err != nil || time.Since(at) > by/2 && by > 0 || time.Until(at) > by/2 {
			return text
		}
		return at.Add(by).Format(`"` + time.RFC3339Nano + `"`)
	})))
}

// A board boots with its clock ahead, its login is cut, and the clock is put right.
func TestAStrikeOfTheFutureIsWaitedForAsLongAsAnyOther(t *testing.T) {
	for _, by := range aheads {
		t.Run(by.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newModel()
				state := &aheadState{State: keeper.NewMemoryState(), by: by}
				m.setFault(fault{"cut", "login", time.Now().Add(time.Second)})
				first := newKeeper(t, m, keeper.Config{State: state})
				if got := get(first.Transport(m)); got.err == nil {
					t.Errorf("got %+v, want the cut", got)
				}
				state.right()
				closeKeeper(t, first)
				pass(2 * time.Second)
				k := newKeeper(t, m, keeper.Config{State: state})
				if got := get(k.Transport(m)); got.err == nil {
					t.Error("a login was made before the pause after a strike was over")
				}
				pass(11 * time.Second)
				get(k.Transport(m)).ok(t)
				if m.logIns != 1 {
					t.Errorf("%d logins, want the one after the strike", m.logIns)
				}
			})
		})
	}
}

// The same board logs in, and the upstream refuses the session at once.
func TestASessionOfTheFutureIsRenewedAsAnyOther(t *testing.T) {
	for _, by := range aheads {
		t.Run(by.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newModel()
				state := &aheadState{State: keeper.NewMemoryState(), by: by}
				k := newKeeper(t, m, keeper.Config{State: state})
				get(k.Transport(m)).ok(t)
				state.right()
				for range 4 { // each wait is longer than the one before
					m.endSessions()
					get(k.Transport(m))
					pass(9 * time.Second)
				}
				get(k.Transport(m)).ok(t)
				if stats := k.Stats(); m.logIns > 5 || stats[keeper.EventLogIn] < 2 {
					t.Errorf("%d logins, want one after each end", m.logIns)
				}
			})
		})
	}
}

// What the file of a state, or a row of a database, says of the last use may lie in
// the future as well: the session that died in the meantime is renewed.
func TestALastUseOfTheFutureHidesNoDeadSession(t *testing.T) {
	for _, by := range aheads {
		synctest.Test(t, func(t *testing.T) {
			m := newModel()
			state := &aheadState{State: keeper.NewMemoryState(), by: by}
			k := newKeeper(t, m, keeper.Config{State: state})
			for range 3 {
				get(k.Transport(m)).ok(t)
				pass(time.Minute)
			}
			closeKeeper(t, k)
			state.right()
			pass(time.Hour)
			k = newKeeper(t, m, keeper.Config{State: state})
			get(k.Transport(m)) // which may be too soon after the login, as far as can be known
			pass(time.Second)
			for range 3 {
				get(k.Transport(m)).ok(t)
				pass(20 * time.Second)
			}
			status, err := k.Status(t.Context())
			if err != nil || status.LastUse.After(time.Now()) || status.LoggedInAt.After(time.Now()) || !status.Live {
				t.Errorf("%v ahead: the status is %+v, %v", by, status, err)
			}
			if m.logIns != 2 {
				t.Errorf("%v ahead: %d logins, want 2", by, m.logIns)
			}
		})
	}
}

// A password that was seen first in the future grows old from now on.
func TestAPasswordOfTheFutureIsRotatedInItsTime(t *testing.T) {
	for _, by := range []time.Duration{day, 20 * 365 * day} {
		synctest.Test(t, func(t *testing.T) {
			m, store := newModel(), newStore(t, t.TempDir())
			state := &aheadState{State: newDurable(), by: by}
			k := newKeeper(t, m, keeper.Config{State: state, Rotation: &keeper.Rotation{Store: store, Every: 30 * day}})
			get(k.Transport(m)).ok(t)
			state.right()
			resets := func() int {
				m.mu.Lock()
				defer m.mu.Unlock()
				return len(m.resets)
			}
			pass(20 * day)
			if resets() != 0 {
				t.Errorf("%v ahead: rotated after 20 days", by)
			}
			pass(11 * day)
			if n := resets(); n != 1 {
				t.Errorf("%v ahead: %d rotations in 31 days, want 1", by, n)
			}
			status, err := k.Status(t.Context())
			if err != nil || status.PasswordSince.After(time.Now()) {
				t.Errorf("%v ahead: the status is %+v, %v", by, status, err)
			}
		})
	}
}

// What a reset of the guard ends: the pause after a strike, and that before the
// next login in place of a session which was refused at once.
func TestAResetOfTheGuardEndsEveryWait(t *testing.T) {
	for name, begin := range map[string]func(*model){
		"strike":  func(m *model) { m.setFault(fault{"cut", "login", time.Now().Add(time.Second)}) },
		"refused": func(*model) {},
		"outage":  func(m *model) { m.setFault(fault{"unreachable", "login", time.Now().Add(20 * time.Minute)}) },
		"throttled": func(m *model) {
			m.setFault(fault{"throttled", "login", time.Now().Add(20 * time.Minute)})
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, shared := newModel(), keeper.NewMemoryState()
				k := newKeeper(t, m, keeper.Config{State: shared})
				rt := k.Transport(m)
				begin(m)
				for range 4 { // so that the wait is a long one
					get(rt)
					m.endSessions()
					get(rt)
					if name == "outage" || name == "throttled" {
						pass(4 * time.Minute)
					}
				}
				get(rt)
				m.change(func() { m.faults = nil })
				operator := newKeeper(t, m, keeper.Config{State: shared})
				before := m.logIns
				if err := operator.ResetGuard(t.Context()); err != nil {
					t.Fatal(err)
				}
				pass(5 * time.Second)
				get(rt).ok(t)
				if name != "strike" && m.logIns == before {
					t.Error("no login was made")
				}
			})
		})
	}
}

func TestAnErrorTellsHowLongToWaitAndStatusTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, shared := newModel(), keeper.NewMemoryState()
		m.setFault(fault{"cut", "login", time.Now().Add(time.Second)})
		k := newKeeper(t, m, keeper.Config{State: shared})
		rt := k.Transport(m)
		get(rt)
		pass(2 * time.Second)
		for range 3 {
			began := time.Now()
			got := get(rt)
			var wait *keeper.WaitError
			if !errors.As(got.err, &wait) || wait.Wait <= 0 || wait.Wait > 10*time.Second ||
				!wait.Until.Equal(time.Now().Add(wait.Wait)) || wait.Until.Sub(began) > 10*time.Second {
				t.Fatalf("got %+v, want a WaitError of ten seconds at most", got)
			}
			if !strings.Contains(wait.Error(), wait.Until.UTC().Format(time.RFC3339)) {
				t.Errorf("%q does not say until when", wait)
			}
			for name, other := range map[string]*keeper.Keeper{"itself": k,
				"another": newKeeper(t, m, keeper.Config{State: shared})} {
				status, err := other.Status(t.Context())
				if err != nil || status.Latched != nil || status.Waiting == nil || status.Waiting.Wait <= 0 ||
					status.Waiting.Wait > 10*time.Second || status.Waiting.Err == nil {
					t.Errorf("%s: the status is %+v, %v", name, status, err)
				}
			}
			pass(2 * time.Second)
		}
		pass(9 * time.Second)
		get(rt).ok(t)
		if status, err := k.Status(t.Context()); err != nil || status.Waiting != nil {
			t.Errorf("after the wait: %+v, %v", status, err)
		}
	})
}

// The wait before a session is renewed that was refused at once is known to others.
func TestStatusTellsOfARefusedSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, shared := newModel(), keeper.NewMemoryState()
		k := newKeeper(t, m, keeper.Config{State: shared})
		rt := k.Transport(m)
		for range 4 {
			get(rt).ok(t)
			m.endSessions()
			get(rt)
			status, err := newKeeper(t, m, keeper.Config{State: shared}).Status(t.Context())
			if err != nil || status.Live || status.Waiting == nil || !strings.Contains(status.Waiting.Error(),
				"another program") {
				t.Fatalf("the status is %+v, %v", status, err)
			}
			pass(status.Waiting.Wait + time.Millisecond)
		}
		get(rt).ok(t)
	})
}

// An upstream that asks for patience gets it, however often a wait is looked at.
func TestAWaitIsLookedAtAndNotCutShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &attempts{model: newModel()}
		a.setFault(fault{"throttled", "login", time.Now().Add(5 * time.Second)})
		k := newKeeper(t, a, keeper.Config{})
		rt := k.Transport(a)
		began := time.Now()
		for get(rt).err != nil {
			pass(100 * time.Millisecond)
		}
		if took := time.Since(began); took < 7*time.Second || took > 8*time.Second || a.n != 2 {
			t.Errorf("%d logins, the last after %v, want two, seven seconds apart", a.n, took)
		}
	})
}
