package authority

import (
	"crypto/sha256"
	"errors"
	"slices"
	"time"
)

// StrikeKey identifies what strikes are counted for: the SHA-256 of a user name, whether
// or not a user has that name. It is a hash because people type passwords into the wrong
// field.
type StrikeKey [sha256.Size]byte

// strikeKey returns the key of a user name.
func strikeKey(name string) StrikeKey { return sha256.Sum256([]byte(name)) }

// Strikes are the consecutive failed logins of one user name, and the attempts under way.
type Strikes struct {
	Failures     int
	LockedAt     time.Time     // zero: not locked
	Manual       bool          // an operator locked the account, so that the lock is never lifted by time
	Reservations []Reservation // attempts under way, and those that were never settled
	Guesses      []Guess       // the last wrong passwords of sessions, newest first
	ChangedAt    time.Time
}

// ReservationID is the random ID of a reservation.
type ReservationID [16]byte

// Reservation is the right to evaluate one password.
type Reservation struct {
	ID        ReservationID
	ExpiresAt time.Time
}

// Guess identifies a wrong password together with the session that sent it. It reveals
// neither.
type Guess [16]byte

// The rules' results beside nil.
var (
	errLocked = errors.New("authority: locked")
	// errBusy means that there are as many attempts under way as there are strikes left.
	errBusy = errors.New("authority: every strike that is left is reserved")
	// errReservationLost means that the reservation expired, or was removed, before it was
	// settled. What was learned under it must not be revealed.
	errReservationLost = errors.New("authority: the reservation was lost")
)

// outcome is how an attempt ended.
type outcome int

const (
	abandoned outcome = iota // nothing was evaluated, or nothing about the password was learned
	failed                   // the password was wrong
	succeeded                // the password was right
)

const (
	// reservationHold is how long a reservation lives unless it is extended.
	reservationHold = 10 * time.Second
	// longestHold bounds how much later than now a reservation may expire. One that
	// expires later was made while a clock was ahead, and no longer counts.
	longestHold = 15 * reservationHold
	// maxGuesses is how many wrong passwords of a user name are remembered.
	maxGuesses = 16
)

// lockRule decides when failures lock an account, and when the lock is lifted.
type lockRule struct {
	max         int           // the failure that locks
	unlockAfter time.Duration // how long a lock lasts; 0: until an operator lifts it
}

// at returns the strikes as they count at now: a lock in the future, set while a clock was
// ahead, is one of now, and a lock that has lasted long enough is lifted with its failures.
func (r lockRule) at(s Strikes, now time.Time) Strikes {
	if s.LockedAt.After(now) {
		s.LockedAt = now
	}
	if !s.LockedAt.IsZero() && !s.Manual && r.unlockAfter > 0 && !now.Before(s.LockedAt.Add(r.unlockAfter)) {
		s.Failures, s.LockedAt = 0, time.Time{}
	}
	return s
}

// reserve adds a reservation. If failures and reservations together have reached the
// limit, reserve returns errLocked or errBusy.
func (r lockRule) reserve(s *Strikes, id ReservationID, now time.Time) error {
	*s = r.at(*s, now)
	if !s.LockedAt.IsZero() || s.Failures >= r.max { // the limit may have been lowered
		return errLocked
	}
	s.Reservations = slices.DeleteFunc(s.Reservations, func(o Reservation) bool {
		return !o.ExpiresAt.After(now) || o.ExpiresAt.After(now.Add(longestHold))
	})
	if s.Failures+len(s.Reservations) >= r.max {
		return errBusy
	}
	s.Reservations = append(s.Reservations, Reservation{ID: id, ExpiresAt: now.Add(reservationHold)})
	s.ChangedAt = now
	return nil
}

// extend lets a reservation live on, unless it was lost.
func (s *Strikes) extend(id ReservationID, now time.Time) error {
	i := s.reservation(id, now)
	if i < 0 {
		return errReservationLost
	}
	s.Reservations[i].ExpiresAt, s.ChangedAt = now.Add(reservationHold), now
	return nil
}

// settle ends a reservation, unless it was lost. A failure counts, and locks when it
// reaches the limit. A success sets the failures to zero.
func (r lockRule) settle(s *Strikes, id ReservationID, o outcome, now time.Time) error {
	i := s.reservation(id, now)
	if i < 0 {
		return errReservationLost
	}
	s.Reservations, s.ChangedAt = slices.Delete(s.Reservations, i, i+1), now
	switch o {
	case failed:
		if s.Failures++; s.Failures >= r.max && s.LockedAt.IsZero() {
			s.LockedAt = now
		}
	case succeeded:
		s.Failures = 0
	case abandoned:
	}
	return nil
}

// reservation returns the index of a reservation that is not lost, or -1.
func (s *Strikes) reservation(id ReservationID, now time.Time) int {
	return slices.IndexFunc(s.Reservations, func(o Reservation) bool { return o.ID == id && o.ExpiresAt.After(now) })
}

// settleGuess settles a wrong password of a session, and reports whether it counted. The
// same guess again does not count.
func (r lockRule) settleGuess(s *Strikes, id ReservationID, guess Guess, now time.Time) (counted bool, err error) {
	o := failed
	if slices.Contains(s.Guesses, guess) {
		o = abandoned
	}
	if err := r.settle(s, id, o, now); err != nil {
		return false, err
	}
	if o == failed {
		s.Guesses = slices.Insert(s.Guesses, 0, guess)
		s.Guesses = s.Guesses[:min(len(s.Guesses), maxGuesses)]
	}
	return o == failed, nil
}

// set replaces failures and lock, as an operator wants them, and removes the
// reservations: attempts that are under way are lost.
func (r lockRule) set(s *Strikes, failures int, manual bool, now time.Time) {
	*s = Strikes{Failures: failures, Manual: manual, Guesses: s.Guesses, ChangedAt: now}
	if failures >= r.max || manual {
		s.LockedAt = now
	}
}

// Bounds of the strikes that are kept of names that no user has. Such strikes must not be
// told from those of users, and guessing at names must not fill the disk.
const (
	maxUnknownStrikes = 100_000
	maxFoldedStrikes  = 4_000_000
	foldEvery         = 1000 // strikes are folded each time that so many were settled
)

// foldBounds returns the bounds for StrikeStore.FoldStrikes.
func (a *Authority) foldBounds() FoldBounds {
	return FoldBounds{
		Keep: a.unknownStrikes, AtOnce: 2 * foldEvery, Most: maxFoldedStrikes,
		ReservedBefore: a.now().Add(-longestHold),
	}
}
