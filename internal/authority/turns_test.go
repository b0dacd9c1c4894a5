package authority_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/secret"
	"github.com/latchkey/latchkey/internal/testsupport"
)

// waitFor returns when so many logins wait.
func (s *service) waitFor(t *testing.T, waiting int) {
	t.Helper()
	testsupport.Eventually(t, fmt.Sprint(waiting, " logins wait"), func() bool { return s.Load().Waiting >= waiting })
}

// However many logins of other API clients wait, the next one of a client that has none in
// line is hashed after one of each, and those that have begun.
func TestAPIClientsTakeTurns(t *testing.T) {
	const clients = 3
	s := newService(t, func(c *authority.Config) {
		c.HashSlots, c.Hash = 1, authority.HashParams{MemoryKiB: 2 << 10, Passes: 2, Lanes: 1}
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var hashed atomic.Int64
	var group sync.WaitGroup
	for client := range clients {
		for i := range 60 {
			group.Go(func() {
				for n := 0; ctx.Err() == nil; n++ {
					name := fmt.Sprint("made-up ", client, i, n)
					_, err := s.LogIn(ctx, name, "wrong", authority.Origin{Client: fmt.Sprint("key ", client)})
					if errors.Is(err, authority.ErrInvalidCredentials) {
						hashed.Add(1)
					} else if ctx.Err() == nil {
						t.Errorf("a login of the flood: %v", err)
					}
				}
			})
		}
	}
	s.waitFor(t, 40*clients)
	for range 5 {
		before := hashed.Load()
		if _, err := s.LogIn(t.Context(), "zaphod", "right", authority.Origin{Client: "another key"}); err != nil {
			t.Fatal(err)
		}
		// One that is being hashed; one of each client at the place and one at the slot; and
		// those that end after the login before this test counts.
		if n := hashed.Load() - before; n > 3*clients+3 {
			t.Errorf("during a login %d others were hashed", n)
		}
	}
	if _, err := s.SetPassword(t.Context(), "zaphod", "another one", authority.Origin{}); err != nil {
		t.Errorf("an operator's password: %v", err)
	}
	cancel()
	group.Wait()
	if load := s.Load(); load.Hashing != 0 || load.Waiting != 0 {
		t.Errorf("after the flood: %+v", load)
	}
}

// The number of logins that wait is bounded for each API client, and for each name. A caller
// that leaves makes room at once.
func TestLoginsThatWaitAreBounded(t *testing.T) {
	s := newService(t, func(c *authority.Config) {
		c.HashSlots, c.HashQueue = 1, 100
		c.Hash = authority.HashParams{MemoryKiB: 64 << 10, Passes: 8, Lanes: 1} // slow enough to look at the line
	})
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	var group sync.WaitGroup
	logIn := func(n int, client string, name func(i int) string) (overloaded *atomic.Int64) {
		overloaded = &atomic.Int64{}
		for i := range n {
			group.Go(func() {
				_, err := s.LogIn(ctx, name(i), "wrong", authority.Origin{Client: client})
				if errors.Is(err, authority.ErrOverloaded) {
					overloaded.Add(1)
				}
			})
		}
		return overloaded
	}
	many := logIn(300, "one key", func(i int) string { return fmt.Sprint("name ", i) })
	testsupport.Eventually(t, "300 names of one client", func() bool { return many.Load() >= 150 })
	same := logIn(200, "another key", func(int) string { return "zaphod" })
	testsupport.Eventually(t, "200 times one name", func() bool { return same.Load() >= 100 })
	if n := s.Load().Waiting; n > 100+64+2*4 {
		t.Errorf("%d logins wait", n)
	}
	third := logIn(1, "a third key", func(int) string { return "zaphod" })
	s.waitFor(t, 1)
	if third.Load() != 0 {
		t.Error("a client without logins in line was refused")
	}
	leave()
	group.Wait()
	if load := s.Load(); load.Hashing != 0 || load.Waiting != 0 {
		t.Errorf("after all have left: %+v", load)
	}
	if _, err := s.LogIn(t.Context(), "zaphod", secret.Text("right"), authority.Origin{Client: "one key"}); err != nil {
		t.Errorf("a login afterwards: %v", err)
	}
}
