package storetest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/secret"
)

// GuessAtManyNames guesses at a user and at an unknown name, and then at thousands of
// unknown names. The first two must get the same results all along. All
// but a hundred strikes are folded.
func GuessAtManyNames(t *testing.T, stores authority.Stores) {
	t.Helper()
	names := 1200 // enough for strikes to be folded once
	if os.Getenv("LATCHKEY_SOAK") != "" {
		names = 4000
	}
	ctx, now := context.Background(), start
	rules, err := authority.New(authority.Config{
		Stores: stores, Key: make([]byte, 32), HashSlots: 8, HashQueue: 1000, UnknownStrikes: 100,
		Policy: authority.Policy{UnlockAfter: time.Hour}, Hash: authority.HashParams{MemoryKiB: 8, Passes: 1, Lanes: 1},
		Now: func() time.Time { return now },
	})
	if err != nil {
		t.Fatal(err)
	}
	logIn := func(name string, password secret.Text) error {
		_, err := rules.LogIn(ctx, name, password, authority.Origin{})
		return err
	}
	kinds := map[string]int{"locked": 5, "nearly locked": 4, "with a failure": 1}
	for kind, failures := range kinds {
		if err := rules.AddKnownUser(ctx, kind+" user", "right", authority.Origin{}); err != nil {
			t.Fatal(err)
		}
		for range failures {
			for _, who := range []string{" user", " ghost"} {
				if err := logIn(kind+who, "wrong"); !errors.Is(err, authority.ErrInvalidCredentials) {
					t.Fatal(err)
				}
			}
		}
	}
	now = now.Add(time.Minute)
	var guessing sync.WaitGroup
	for worker := range 40 {
		guessing.Go(func() {
			for i := worker; i < names; i += 40 {
				if err := logIn(fmt.Sprint("unknown ", i), "wrong"); !errors.Is(err, authority.ErrInvalidCredentials) {
					t.Error(err)
				}
			}
		})
	}
	guessing.Wait()
	for kind, failures := range kinds {
		for attempt := range 6 {
			want := authority.ErrInvalidCredentials
			if failures+attempt >= 5 {
				want = authority.ErrAccountLocked
			}
			for _, who := range []string{" user", " ghost"} {
				if err := logIn(kind+who, "wrong"); !errors.Is(err, want) {
					t.Errorf("%s%s, attempt %d: %v, want %v", kind, who, attempt, err, want)
				}
			}
		}
	}
	// An earlier lock is lifted for both.
	now = now.Add(time.Hour - time.Minute)
	for _, who := range []string{"locked user", "locked ghost"} {
		if err := logIn(who, "wrong"); !errors.Is(err, authority.ErrInvalidCredentials) {
			t.Errorf("%s, an hour later: %v", who, err)
		}
	}
}
