package sqlstore_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/enginetest"
	"github.com/latchkey/latchkey/internal/secret"
	"github.com/latchkey/latchkey/internal/sqlstore"
)

// TestLocksOfMadeUpNamesAreKept guesses at very many names after it has guessed at a
// user's and at a made-up one. Both must go on to answer the same.
func TestLocksOfMadeUpNamesAreKept(t *testing.T) {
	t.Run("SQLite", func(t *testing.T) {
		db, _ := open(t, "")
		db.KeepUnknown(100)
		guessAtMany(t, db.Stores())
		folded, err := sqlstore.CountFolded(t.Context(), db)
		if err != nil || folded < 1000 {
			t.Errorf("%d strikes are folded, %v", folded, err)
		}
		for share, most := range map[int]int{folded: folded, 0: folded * 6 / 10} {
			if err := sqlstore.TrimFolded(t.Context(), db, share); err != nil {
				t.Fatal(err)
			}
			if left, err := sqlstore.CountFolded(t.Context(), db); err != nil || left > most || left < folded*4/10 {
				t.Errorf("trimmed to a share of %d, %d of %d are left, %v", share, left, folded, err)
			}
		}
	})
	t.Run("PostgreSQL", func(t *testing.T) {
		db := openPostgres(t, sqlstore.PostgresOptions{URL: enginetest.Postgres(t)})
		db.KeepUnknown(100)
		guessAtMany(t, db.Stores())
	})
}

func guessAtMany(t *testing.T, stores authority.Stores) {
	t.Helper()
	ctx, now := context.Background(), start
	rules, err := authority.New(authority.Config{Stores: stores, Key: make([]byte, 32), HashSlots: 8, HashQueue: 1000,
		Policy: authority.Policy{UnlockAfter: time.Hour}, Hash: authority.HashParams{MemoryKiB: 8, Passes: 1, Lanes: 1}, Now: func() time.Time { return now }})
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
			for i := worker; i < 4000; i += 40 {
				if err := logIn(fmt.Sprint("made up ", i), "wrong"); !errors.Is(err, authority.ErrInvalidCredentials) {
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
	// A lock of before lifts for both.
	now = now.Add(time.Hour - time.Minute)
	for _, who := range []string{"locked user", "locked ghost"} {
		if err := logIn(who, "wrong"); !errors.Is(err, authority.ErrInvalidCredentials) {
			t.Errorf("%s, an hour later: %v", who, err)
		}
	}
}
