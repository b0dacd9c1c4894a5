package authority

import (
	"crypto/sha256"
	"time"
)

// StrikeKey names what strikes are counted for: the SHA-256 of a user name,
// whether or not somebody has that name. It is a hash because people type
// passwords into the wrong field.
type StrikeKey [sha256.Size]byte

// Strikes are the failed logins in a row of one user name.
type Strikes struct {
	Failures int
	LockedAt time.Time // zero: not locked
	Manual   bool      // locked by an operator, so no timed unlock applies
}

// StrikeLimit is the rule that a reservation is made under.
type StrikeLimit struct {
	Max         int           // the failure that locks
	UnlockAfter time.Duration // a lock lifts by itself after so long; 0: never
	Now         time.Time
	Hold        time.Duration // how long the reservation lives unless it is settled
}

// Reservation is the right to evaluate one password.
type Reservation struct {
	Key       StrikeKey
	ID        [16]byte // random, made by the store
	Max       int      // of the limit that it was made under
	ExpiresAt time.Time
}

// Guess identifies a wrong password and the session that it came from. It shows
// neither.
type Guess [16]byte

// Outcome is how an attempt ended.
type Outcome int

// The outcomes of an attempt.
const (
	Abandoned Outcome = iota // nothing was evaluated, or nothing about the password was learned
	Failed                   // the password was wrong
	Succeeded                // the password was right
)
