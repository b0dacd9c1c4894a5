package replicas_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/latchkey/latchkey/internal/enginetest"
)

// TestStressLockout guesses one user's password concurrently on all replicas. Exactly five guesses
// are evaluated, and the logins of other users succeed.
func TestStressLockout(t *testing.T) {
	rounds, guesses := choose(2, 10), choose(300, 1000)
	f := startFleet(t, setup{database: enginetest.Postgres(t)})
	for i := range 10 {
		f.addUser(fmt.Sprint("other", i), "the right one")
	}
	var repeated, others atomic.Int64
	for round := range rounds {
		user := fmt.Sprint("victim", round)
		f.addUser(user, "the right one")
		var work sync.WaitGroup
		var evaluated, refused atomic.Int64
		for i := range guesses {
			work.Go(func() {
				guess := fmt.Sprint("wrong ", i)
				a, again := settled(func() response { return f.logIn(i%len(f.replicas), user, guess) })
				repeated.Add(int64(again))
				switch a.outcome {
				case wrong:
					evaluated.Add(1)
				case locked:
					refused.Add(1)
				default:
					t.Errorf("round %d, a guess: %v", round, a)
				}
			})
		}
		for i := range 10 {
			work.Go(func() {
				for n := range 3 {
					replica, other := (i+n)%len(f.replicas), fmt.Sprint("other", i)
					a, again := settled(func() response { return f.logIn(replica, other, "the right one") })
					repeated.Add(int64(again))
					if a.outcome != ok {
						t.Errorf("round %d, a correct login of another user: %v", round, a)
						return
					}
					others.Add(1)
				}
			})
		}
		work.Wait()
		if evaluated.Load() != 5 || refused.Load() != int64(guesses-5) {
			t.Errorf("round %d: %d guesses were evaluated, %d refused", round, evaluated.Load(), refused.Load())
		}
		if n := f.trail(user, "login-failed"); n != 5 {
			t.Errorf("round %d: the audit trail has %d failed logins", round, n)
		}
		for i := range f.replicas {
			a, _ := settled(func() response { return f.logIn(i, user, "the right one") })
			if a.outcome != locked {
				t.Errorf("round %d, the right password afterwards: %v", round, a)
			}
		}
	}
	t.Logf("%d rounds of %d guesses; %d logins of others; %d responses with 503",
		rounds, guesses, others.Load(), repeated.Load())
}

// TestStressConcurrentLogins logs one user in concurrently on all replicas.
func TestStressConcurrentLogins(t *testing.T) {
	f := startFleet(t, setup{database: enginetest.Postgres(t)})
	rounds, repeated := choose(1, 20), atomic.Int64{}
	f.addUser("zoe", "the right one")
	for range rounds {
		var work sync.WaitGroup
		for i := range 100 {
			work.Go(func() {
				a, again := settled(func() response { return f.logIn(i%len(f.replicas), "zoe", "the right one") })
				repeated.Add(int64(again))
				if a.outcome != ok {
					t.Errorf("a correct login: %v", a)
				} else if a = f.check((i+1)%len(f.replicas), a.text); a.outcome != ok {
					t.Errorf("its session, on the next replica: %v", a)
				}
			})
		}
		work.Wait()
	}
	t.Logf("%d logins; %d responses with 503", 100*rounds, repeated.Load())
}
