package replicas_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/admin"
	"github.com/latchkey/latchkey/internal/enginetest"
)

// staleness is how long a replica may still accept a session that has ended if it has the
// session in its cache.
const staleness = 100 * time.Millisecond

// TestStressEndedSessions ends sessions on one replica while others have them in their caches.
func TestStressEndedSessions(t *testing.T) {
	t.Parallel()
	t.Run("cached", func(t *testing.T) {
		f := startFleet(t, setup{database: enginetest.Postgres(t)})
		endSessions(t, f, staleness)
		for i := 1; i < len(f.replicas); i++ {
			n := f.hits(i)
			t.Logf("replica %d found %.0f sessions in its cache", i, n)
			if n == 0 {
				t.Error("the cache was not used, so nothing could be stale")
			}
		}
	})
	t.Run("behind a pooler", func(t *testing.T) {
		f := startFleet(t, setup{database: enginetest.StartPgBouncer(t, enginetest.Postgres(t))})
		endSessions(t, f, 0)
		for i := range f.replicas {
			if f.hits(i) > 0 || f.trusts(i) {
				t.Errorf("replica %d trusts its cache without notifications", i)
			}
		}
	})
	t.Run("lost notifications", lostNotifications)
	t.Run("paused", paused)
}

// lostNotifications ends sessions while the notifications for a replica that has them in its
// cache are lost.
func lostNotifications(t *testing.T) {
	database := enginetest.StartPostgres(t)
	proxy := enginetest.StartProxy(t, database.Addr())
	f := startFleet(t, setup{database: database.URL(), own: withHost(t, database.URL(), proxy.Addr())})
	f.addUser("zoe", "the right one")
	last, rounds := len(f.replicas)-1, choose(4, 200)
	var stale []time.Duration
	for range rounds {
		session := f.cached(last)
		stale = append(stale, f.watch(t, session, func() (time.Duration, bool) {
			proxy.Stall()
			out := f.logOut(0, session)
			if out.outcome != ok {
				t.Errorf("a logout: %v", out)
			}
			return out.back, out.outcome == ok
		}, staleness)...)
		if f.trusts(last) {
			t.Error("a replica trusts its cache although it gets no notifications")
		}
		proxy.Heal()
		if t.Failed() {
			break
		}
	}
	report(t, rounds, stale)
}

// cached logs in and returns a session that a replica has in its cache.
func (f *fleet) cached(replica int) string {
	f.t.Helper()
	a := f.logIn(0, "zoe", "the right one")
	if a.outcome != ok {
		f.t.Fatal(a)
	}
	await(f.t, "the replica caches the session", func() error {
		before := f.hits(replica)
		if c := f.check(replica, a.text); c.outcome != ok {
			f.t.Fatal(c)
		}
		if f.hits(replica) == before {
			return errors.New("the session is not in the cache")
		}
		return nil
	})
	return a.text
}

// paused ends sessions while the process of a replica that has them in its cache is stopped.
// When the process continues, it has not received the notifications yet, and its clocks may not
// show the pause.
func paused(t *testing.T) {
	f := startFleet(t, setup{database: enginetest.Postgres(t)})
	f.addUser("zoe", "the right one")
	last, rounds := len(f.replicas)-1, choose(6, 200)
	var stale []time.Duration
	for range rounds {
		session := f.cached(last)
		stale = append(stale, f.watch(t, session, func() (time.Duration, bool) {
			stopped := f.replicas[last]
			stopped.signal(stopSignal)
			out := f.logOut(0, session)
			if out.outcome != ok {
				t.Errorf("a logout: %v", out)
			}
			pause(staleness)
			const checks = 4
			responses := make(chan response, checks)
			for range checks { // they wait in the kernel until the process continues
				go func() { responses <- f.check(last, session) }()
			}
			pause(rand.N(20 * time.Millisecond))
			stopped.signal(continueSignal)
			for range checks {
				if a := <-responses; a.call-out.back > staleness && a.outcome != expired {
					t.Errorf("%v after the session ended, while the process was stopped: %v", a.call-out.back, a)
				}
			}
			return out.back, out.outcome == ok
		}, staleness)...)
		if t.Failed() {
			break
		}
	}
	report(t, rounds, stale)
}

// report logs how long sessions were accepted after they had ended.
func report(t *testing.T, ends int, stale []time.Duration) {
	t.Helper()
	if len(stale) == 0 {
		t.Logf("%d sessions ended; every later check was refused", ends)
		return
	}
	slices.Sort(stale)
	at := func(percent int) time.Duration { return stale[(len(stale)-1)*percent/100] }
	t.Logf("%d sessions ended; %d later checks were accepted; half began within %v, 90%% within %v, all within %v",
		ends, len(stale), at(50), at(90), at(100))
}

// endSessions ends sessions in every way while they are checked on other replicas.
func endSessions(t *testing.T, f *fleet, allowed time.Duration) {
	const workers = 4
	var all sync.WaitGroup
	var mu sync.Mutex
	var stale []time.Duration
	var ended []string
	var next atomic.Int64
	total := int64(choose(60, 1000))
	for w := range workers {
		all.Go(func() {
			user, password := fmt.Sprint("user", w), "the right one"
			f.addUser(user, password)
			for n := next.Add(1); n <= total && !t.Failed(); n = next.Add(1) {
				logIn := func() string {
					a, _ := settled(func() response { return f.logIn(int(n)%3, user, password) })
					if a.outcome != ok {
						t.Errorf("a login: %v", a)
					}
					return a.text
				}
				session := logIn()
				var end func() (time.Duration, bool)
				switch n % 10 {
				case 3: // by an operator
					end = func() (time.Duration, bool) {
						var count admin.Count
						err := f.admin(0, admin.PathUserEnd, admin.Name{Name: user}, &count)
						if err != nil || count.Count == 0 {
							t.Errorf("the operator ended %d sessions: %v", count.Count, err)
						}
						return time.Since(f.begin), err == nil
					}
				case 7: // by a reset, in another session
					by := logIn()
					end = func() (time.Duration, bool) {
						key := fmt.Sprint("reset-", n)
						a, _ := settled(func() response { return f.reset(0, by, password, key) })
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
				t.Fatalf("a session that ended before: %v", a)
			}
		}
	}
	report(t, len(ended), stale)
}

// watch checks a session on two replicas continuously while end ends it on the first one. end
// returns when the session ended, and whether it did. watch returns how long after that the checks
// began that were still accepted.
func (f *fleet) watch(
	t *testing.T, session string, end func() (time.Duration, bool), allowed time.Duration,
) (late []time.Duration) {
	const warm, after = 6, 3
	var wait, warmed sync.WaitGroup
	responses := make([][]response, len(f.replicas))
	for i := 1; i < len(f.replicas); i++ {
		warmed.Add(1)
		wait.Go(func() {
			refused := 0
			for n := 1; refused < after && n < 10_000; n++ {
				a := f.check(i, session)
				responses[i] = append(responses[i], a)
				switch a.outcome {
				case ok:
					if refused > 0 {
						t.Errorf("accepted after a refusal: %v", a)
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
	for _, some := range responses {
		for _, a := range some {
			if since := a.call - at; a.outcome == ok && since > 0 {
				late = append(late, since)
				if since > allowed {
					t.Errorf("%v after the session ended: %v", since, a)
				}
			}
		}
	}
	return late
}
