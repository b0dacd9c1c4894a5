package storetest

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/authority"
)

// fail settles a reservation of its own as failed with a guess.
func fail(t *testing.T, s authority.Stores, key authority.StrikeKey, guess byte, failures int, counted bool) {
	t.Helper()
	l := limit(start)
	l.Max = 100
	strikes, got, err := s.Strikes.FailStrike(t.Context(), reserve(t, s, key, l), authority.Guess{guess}, start)
	must(t, err)
	equal(t, "whether the guess counted", got, counted)
	equal(t, "failures", strikes, authority.Strikes{Failures: failures})
}

func strikesGuessed(t *testing.T, s authority.Stores) {
	ctx, key, other := t.Context(), authority.StrikeKey{1}, authority.StrikeKey{2}
	fail(t, s, key, 0, 1, true)
	fail(t, s, key, 0, 1, false)
	fail(t, s, key, 1, 2, true)
	fail(t, s, key, 0, 2, false)
	fail(t, s, key, 1, 2, false)
	fail(t, s, other, 0, 1, true) // another key knows nothing of it

	// What is lost is neither counted nor remembered.
	lost := reserve(t, s, key, limit(start))
	_, counted, err := s.Strikes.FailStrike(ctx, lost, authority.Guess{2}, start.Add(time.Minute))
	wantError(t, err, authority.ErrReservationLost)
	equal(t, "whether a lost one counted", counted, false)
	fail(t, s, key, 2, 3, true)

	// A success and an operator forget failures, and no guesses.
	settle(t, s, reserve(t, s, key, limit(start)), authority.Succeeded, start)
	fail(t, s, key, 2, 0, false)
	must(t, s.Strikes.SetStrikes(ctx, key, authority.Strikes{}))
	fail(t, s, key, 2, 0, false)

	// The last 16 are remembered.
	for i := range 16 {
		fail(t, s, key, byte(100+i), 1+i, true)
	}
	for i := range 16 {
		fail(t, s, key, byte(100+i), 16, false)
	}
	fail(t, s, key, 2, 17, true)
	fail(t, s, key, 100, 18, true)

	// The one that makes the limit locks, and no repeat does.
	locking := authority.StrikeKey{3}
	fail(t, s, locking, 0, 1, true)
	l := limit(start)
	l.Max = 2
	strikes, counted, err := s.Strikes.FailStrike(ctx, reserve(t, s, locking, l), authority.Guess{0}, start)
	must(t, err)
	equal(t, "whether a repeat counted", counted, false)
	equal(t, "strikes after it", strikes, authority.Strikes{Failures: 1})
	strikes, _, err = s.Strikes.FailStrike(ctx, reserve(t, s, locking, l), authority.Guess{1}, start)
	must(t, err)
	equal(t, "strikes after the last failure", strikes, authority.Strikes{Failures: 2, LockedAt: start})

	// Of many at once one counts.
	key = authority.StrikeKey{4}
	var counts atomic.Int64
	many(40, func(int) {
		l := limit(start)
		l.Max = 100
		r, err := s.Strikes.ReserveStrike(ctx, key, l)
		if err != nil {
			t.Error(err)
			return
		}
		_, counted, err := s.Strikes.FailStrike(ctx, r, authority.Guess{7}, start)
		if err != nil {
			t.Error(err)
		}
		if counted {
			counts.Add(1)
		}
	})
	equal(t, "how many of the same guess at once counted", counts.Load(), 1)
}
