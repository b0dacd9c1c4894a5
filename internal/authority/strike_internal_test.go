package authority

import (
	"errors"
	"slices"
	"testing"
	"time"
)

var strikeStart = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// strikeRecord applies a rule to the strikes of one name.
type strikeRecord struct {
	t    *testing.T
	rule lockRule
	Strikes
	reserved byte
}

func newRecord(t *testing.T, limit int, unlockAfter time.Duration) *strikeRecord {
	t.Helper()
	return &strikeRecord{t: t, rule: lockRule{max: limit, unlockAfter: unlockAfter}}
}

// reserve reserves a strike, and requires the result.
func (r *strikeRecord) reserve(now time.Time, want error) ReservationID {
	r.t.Helper()
	r.reserved++
	id := ReservationID{r.reserved}
	if err := r.rule.reserve(&r.Strikes, id, now); !errors.Is(err, want) {
		r.t.Fatalf("reserving a strike: %v, want %v", err, want)
	}
	return id
}

func (r *strikeRecord) settle(id ReservationID, o outcome, now time.Time, want error) {
	r.t.Helper()
	if err := r.rule.settle(&r.Strikes, id, o, now); !errors.Is(err, want) {
		r.t.Fatalf("settling a reservation: %v, want %v", err, want)
	}
}

// guess settles a new reservation with a wrong password of a session.
func (r *strikeRecord) guess(guess byte, counts bool, failures int) {
	r.t.Helper()
	id := r.reserve(strikeStart, nil)
	counted, err := r.rule.settleGuess(&r.Strikes, id, Guess{guess}, strikeStart)
	if err != nil || counted != counts || r.Failures != failures {
		r.t.Fatalf("guess %d: counted %v, %d failures, %v; want %v and %d", guess, counted, r.Failures, err, counts, failures)
	}
}

func (r *strikeRecord) want(failures int, locked bool) {
	r.t.Helper()
	if r.Failures != failures || !r.LockedAt.IsZero() != locked {
		r.t.Fatalf("%d failures, locked at %v; want %d and %v", r.Failures, r.LockedAt, failures, locked)
	}
}

func TestNoMoreStrikesAreReservedThanAreLeft(t *testing.T) {
	r := newRecord(t, 5, 0)
	ids := make([]ReservationID, 0, 5)
	for range 5 {
		ids = append(ids, r.reserve(strikeStart, nil))
	}
	r.reserve(strikeStart, errBusy)
	for i, id := range ids {
		r.settle(id, failed, strikeStart, nil)
		r.want(i+1, i == 4)
	}
	r.reserve(strikeStart.Add(1000*time.Hour), errLocked)
	r.want(5, true)
	r.rule.max = 4 // a limit that was lowered
	r.LockedAt = time.Time{}
	r.reserve(strikeStart, errLocked)
}

func TestASuccessForgetsFailuresAndAnAbandonedAttemptDoesNot(t *testing.T) {
	r := newRecord(t, 5, 0)
	for range 4 {
		r.settle(r.reserve(strikeStart, nil), failed, strikeStart, nil)
	}
	last := r.reserve(strikeStart, nil)
	r.reserve(strikeStart, errBusy)
	r.settle(last, abandoned, strikeStart, nil)
	r.want(4, false)
	r.settle(r.reserve(strikeStart, nil), succeeded, strikeStart, nil)
	r.want(0, false)
}

func TestALostReservationSettlesNothing(t *testing.T) {
	r := newRecord(t, 5, 0)
	late := strikeStart.Add(reservationHold)
	first := r.reserve(strikeStart, nil)
	for range 4 {
		r.reserve(strikeStart.Add(time.Second), nil)
	}
	r.reserve(late.Add(-time.Microsecond), errBusy)
	r.settle(first, failed, late, errReservationLost)
	if err := r.extend(first, late); !errors.Is(err, errReservationLost) {
		t.Errorf("extending a lost reservation: %v", err)
	}
	kept := r.reserve(late, nil)
	for range 3 {
		late = late.Add(reservationHold - time.Microsecond)
		if err := r.extend(kept, late); err != nil {
			t.Errorf("extending a reservation: %v", err)
		}
	}
	late = late.Add(reservationHold - time.Microsecond)
	r.settle(kept, failed, late, nil)
	r.settle(kept, failed, late, errReservationLost)
	r.want(1, false)
}

func TestALockIsLiftedByTimeUnlessAnOperatorSetIt(t *testing.T) {
	r := newRecord(t, 1, time.Hour)
	r.settle(r.reserve(strikeStart, nil), failed, strikeStart, nil)
	r.want(1, true)
	r.reserve(strikeStart.Add(time.Hour-time.Microsecond), errLocked)
	later := strikeStart.Add(time.Hour)
	r.settle(r.reserve(later, nil), abandoned, later, nil)
	r.want(0, false)

	r.rule.set(&r.Strikes, 1, true, strikeStart)
	r.reserve(strikeStart.Add(1000*time.Hour), errLocked)
	r.rule.set(&r.Strikes, 0, false, later)
	begun := r.reserve(later, nil)
	r.reserve(later, errBusy)
	r.rule.set(&r.Strikes, 0, false, later) // which removes the reservation
	r.reserve(later, nil)
	r.settle(begun, failed, later, errReservationLost)
}

func TestLocksAndReservationsInTheFutureCountAsOfNow(t *testing.T) {
	future := strikeStart.Add(24 * time.Hour)
	r := newRecord(t, 1, time.Hour)
	r.settle(r.reserve(future, nil), failed, future, nil)
	r.reserve(strikeStart, errLocked)
	if !r.LockedAt.Equal(strikeStart) {
		t.Errorf("a lock in the future is one of %v", r.LockedAt)
	}
	r.reserve(strikeStart.Add(time.Hour-time.Microsecond), errLocked)
	r.reserve(strikeStart.Add(time.Hour), nil)

	r = newRecord(t, 5, 0)
	for range 5 {
		r.reserve(future, nil)
	}
	r.reserve(future, errBusy)
	r.reserve(strikeStart, nil)
	r = newRecord(t, 1, 0)
	r.reserve(strikeStart.Add(ClockSlack), nil)
	r.reserve(strikeStart, errBusy) // of a replica whose clock is a little ahead
}

func TestTheSameGuessIsOneFailure(t *testing.T) {
	r := newRecord(t, 100, 0)
	r.guess(0, true, 1)
	r.guess(0, false, 1)
	r.guess(1, true, 2)
	r.guess(0, false, 2)
	r.guess(1, false, 2)

	// A lost guess is neither counted nor remembered.
	lost := r.reserve(strikeStart, nil)
	counted, err := r.rule.settleGuess(&r.Strikes, lost, Guess{2}, strikeStart.Add(time.Minute))
	if counted || !errors.Is(err, errReservationLost) {
		t.Errorf("a lost guess: counted %v, %v", counted, err)
	}
	r.guess(2, true, 3)

	// A success and an operator forget failures, but not guesses.
	r.settle(r.reserve(strikeStart, nil), succeeded, strikeStart, nil)
	r.guess(2, false, 0)
	r.rule.set(&r.Strikes, 0, false, strikeStart)
	r.guess(2, false, 0)

	// The last 16 are remembered.
	for i := range byte(16) {
		r.guess(100+i, true, int(i)+1)
	}
	for i := range byte(16) {
		r.guess(100+i, false, 16)
	}
	r.guess(2, true, 17)
	r.guess(100, true, 18)

	// The guess that reaches the limit locks; a repeated one does not.
	r = newRecord(t, 2, 0)
	r.guess(0, true, 1)
	r.guess(0, false, 1)
	r.want(1, false)
	r.guess(1, true, 2)
	r.want(2, true)
}

// A store may read into a slice that it reuses: the rules must not depend on it.
func TestRulesDoNotAliasTheGuesses(t *testing.T) {
	guesses := []Guess{{1}, {2}}
	r := newRecord(t, 5, 0)
	r.Guesses = guesses[:1]
	r.guess(3, true, 1)
	if want := []Guess{{3}, {1}}; !slices.Equal(r.Guesses, want) {
		t.Errorf("the guesses are %v, want %v", r.Guesses, want)
	}
}
