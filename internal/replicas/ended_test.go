package replicas_test

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/enginetest"
	"github.com/latchkey/latchkey/internal/wire"
)

// staleness is for how long a session that has ended may still be answered where
// Redis has copies.
const staleness = 100 * time.Millisecond

// TestStressEndedSessions ends sessions on one replica that others have in memory.
func TestStressEndedSessions(t *testing.T) {
	t.Parallel()
	t.Run("postgres", func(t *testing.T) {
		endSessions(t, startFleet(t, setup{database: enginetest.Postgres(t)}), 0)
	})
	t.Run("redis", func(t *testing.T) {
		f := startFleet(t, setup{database: enginetest.Postgres(t), sessions: enginetest.Redis(t)})
		endSessions(t, f, staleness)
		for i := 1; i < len(f.replicas); i++ {
			n := f.copies(i)
			t.Logf("replica %d answered %d checks from copies", i, n)
			if n == 0 {
				t.Error("there was nothing that could have been stale")
			}
		}
	})
	t.Run("redis unheard", unheard)
}

// unheard ends sessions while nothing passes between Redis and a replica that has
// them in memory, and which nobody can tell that they have ended.
func unheard(t *testing.T) {
	redis := enginetest.StartRedis(t)
	proxy := enginetest.StartProxy(t, redis.Addr())
	f := startFleet(t, setup{database: enginetest.Postgres(t), sessions: redis.URL(), own: "redis://" + proxy.Addr()})
	f.addUser("zoe", "the right one")
	last, rounds := len(f.replicas)-1, choose(10, 200)
	var stale []time.Duration
	for range rounds {
		a := f.logIn(0, "zoe", "the right one")
		if a.outcome != ok {
			t.Fatal(a)
		}
		before := f.copies(last)
		await(t, "the replica has a copy", func() error {
			if c := f.check(last, a.text); c.outcome != ok {
				t.Fatal(c)
			}
			if f.copies(last) == before {
				return errors.New("it has none")
			}
			return nil
		})
		stale = append(stale, f.watch(t, a.text, func() (time.Duration, bool) {
			proxy.Stall()
			out := f.logOut(0, a.text)
			if out.outcome != ok {
				t.Errorf("a logout: %v", out)
			}
			return out.back, out.outcome == ok
		}, staleness)...)
		proxy.Heal()
		if t.Failed() {
			break
		}
	}
	report(t, rounds, stale)
}

// report says for how long sessions were answered that had ended.
func report(t *testing.T, ends int, stale []time.Duration) {
	t.Helper()
	if len(stale) == 0 {
		t.Logf("%d ends; every check that began after an end was answered was refused", ends)
		return
	}
	slices.Sort(stale)
	at := func(percent int) time.Duration { return stale[(len(stale)-1)*percent/100] }
	t.Logf("%d ends; %d checks that began after an end was answered were not refused; of these began half within %v, 90%% within %v, all within %v",
		ends, len(stale), at(50), at(90), at(100))
}

func endSessions(t *testing.T, f *fleet, allowed time.Duration) {
	const workers = 4
	var all sync.WaitGroup
	var mu sync.Mutex
	var stale []time.Duration
	var ended []string
	var next atomic.Int64
	total := int64(choose(100, 1000))
	for w := range workers {
		all.Go(func() {
			user, password := fmt.Sprint("user", w), "the right one"
			f.addUser(user, password)
			for n := next.Add(1); n <= total && !t.Failed(); n = next.Add(1) {
				log := func() string {
					a, _ := settled(func() answer { return f.logIn(int(n)%3, user, password) })
					if a.outcome != ok {
						t.Errorf("a login: %v", a)
					}
					return a.text
				}
				session := log()
				var end func() (time.Duration, bool)
				switch n % 10 {
				case 3: // by an operator
					end = func() (time.Duration, bool) {
						var count wire.AdminCount
						err := f.admin(0, wire.PathAdminUserEnd, wire.AdminName{Name: user}, &count)
						if err != nil || count.Count == 0 {
							t.Errorf("the operator ended %d sessions: %v", count.Count, err)
						}
						return time.Since(f.begin), err == nil
					}
				case 7: // by a reset, in another session
					by := log()
					end = func() (time.Duration, bool) {
						a, _ := settled(func() answer { return f.reset(0, by, password, fmt.Sprint("reset-", n)) })
						if a.outcome != ok {
							t.Errorf("a reset: %v", a)
						}
						password = a.text
						return a.back, a.outcome == ok
					}
				default:
					end = func() (time.Duration, bool) {
						a := f.logOut(0, session)
						if a.outcome != ok {
							t.Errorf("a logout: %v", a)
						}
						return a.back, a.outcome == ok
					}
				}
				late := f.watch(t, session, end, allowed)
				mu.Lock()
				stale = append(stale, late...)
				ended = append(ended, session)
				mu.Unlock()
			}
		})
	}
	all.Wait()
	for _, session := range ended {
		for i := range f.replicas {
			if a := f.check(i, session); a.outcome != expired {
				t.Fatalf("a session that ended long ago: %v", a)
			}
		}
	}
	report(t, len(ended), stale)
}

// watch has a session checked on two replicas without a break while it is ended on
// the first. It answers how long after the end's answer those checks began that were
// still answered with ok.
func (f *fleet) watch(t *testing.T, session string, end func() (time.Duration, bool), allowed time.Duration) (late []time.Duration) {
	const warm, after = 6, 3
	var wait, warmed sync.WaitGroup
	answers := make([][]answer, len(f.replicas))
	for i := 1; i < len(f.replicas); i++ {
		warmed.Add(1)
		wait.Go(func() {
			refused := 0
			for n := 1; refused < after && n < 10_000; n++ {
				a := f.check(i, session)
				answers[i] = append(answers[i], a)
				switch a.outcome {
				case ok:
					if refused > 0 {
						t.Errorf("it was refused, and is answered again: %v", a)
					}
				case expired:
					refused++
				default:
					t.Errorf("a check: %v", a)
				}
				if n == warm || n < warm && a.outcome != ok {
					warmed.Done()
					if a.outcome != ok {
						t.Errorf("a live session: %v", a)
						return
					}
				}
			}
		})
	}
	warmed.Wait()
	at, done := end()
	wait.Wait()
	if !done {
		return nil
	}
	for _, some := range answers {
		for _, a := range some {
			if since := a.call - at; a.outcome == ok && since > 0 {
				late = append(late, since)
				if since > allowed {
					t.Errorf("%v after the end was answered: %v", since, a)
				}
			}
		}
	}
	return late
}
