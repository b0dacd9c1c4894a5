package postgres_test

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/enginetest"
	"github.com/latchkey/latchkey/internal/store/postgres"
	"github.com/latchkey/latchkey/internal/store/storetest"
)

// TestManyEnds ends a thousand sessions from many callers at once. The ends wait for
// one another in the database, so they have to be made together.
func TestManyEnds(t *testing.T) {
	t.Parallel()
	url := enginetest.Postgres(t)
	one, other := openCached(t, postgres.Options{URL: url}), openCached(t, postgres.Options{URL: url})
	const n = 1000
	for i := range n {
		must(t, one.CreateSession(t.Context(), storetest.NewSession(i, "u", start)))
		must(t, useOf(t, other, i))
	}
	var all sync.WaitGroup
	var failed atomic.Int64
	began := time.Now()
	for i := range n {
		all.Go(func() {
			if endOf(one, i) != nil {
				failed.Add(1)
			}
			if !errors.Is(endOf(one, i), authority.ErrNotFound) {
				failed.Add(1)
			}
		})
	}
	all.Wait()
	took := time.Since(began)
	t.Logf("%d ends in %v, %.0f a second", n, took, n/took.Seconds())
	if failed.Load() > 0 {
		t.Errorf("%d ends failed", failed.Load())
	}
	postgres.CaughtUp(t.Context(), other)
	for i := range n {
		if err := useOf(t, other, i); !errors.Is(err, authority.ErrNotFound) {
			t.Fatalf("session %d has ended, and a replica returns %v", i, err)
		}
	}
}

// TestAnEndThatTheDatabaseRefuses has one of the ends that are made together be one
// that the database does not take.
func TestAnEndThatTheDatabaseRefuses(t *testing.T) {
	t.Parallel()
	db := openPostgres(t, postgres.Options{URL: enginetest.Postgres(t)})
	const n = 40
	for i := range n {
		must(t, db.CreateSession(t.Context(), storetest.NewSession(i, "u", start)))
	}
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			by := "u"
			if i%8 == 0 {
				by = "\xff\x00"
			}
			end := authority.End{At: start, Reason: authority.ReasonLogout, By: by}
			_, err := db.EndSession(t.Context(), storetest.Key(i), end)
			if (err == nil) != (i%8 != 0) {
				t.Errorf("end %d: %v", i, err)
			}
		})
	}
	all.Wait()
}
