package store

import (
	"bytes"
	"context"
	"crypto/rand"
	"slices"
	"time"

	"github.com/latchkey/latchkey/internal/authority"
)

// lockStrikes reads the strikes of a key in a transaction, and has their row
// locked. There is none to lock until the first attempt, so that makes one. Strikes that
// were folded (foldedstrikes.go) are unfolded. They are looked for in any case, so that it
// takes as long for a user as for a name that nobody has.
func lockStrikes(t Tx, key authority.StrikeKey) (strikes authority.Strikes, err error) {
	_, err = t.Exec(`INSERT INTO strikes (strike_key, failures, locked_at, manual, updated_at) VALUES (?, 0, 0, 0, 0) ON CONFLICT DO NOTHING`, key[:])
	if err != nil {
		return strikes, err
	}
	found := false
	var failures, locked int64
	err = t.QueryLocked(func(r Row) (err error) {
		strikes, err = scanStrikes(r, &failures, &locked)
		found = true
		return err
	}, `SELECT failures, locked_at, manual, COALESCE((SELECT f.failures FROM folded_strikes f WHERE f.id = ?), 0),
		COALESCE((SELECT f.locked_at FROM folded_strikes f WHERE f.id = ?), 0) FROM strikes WHERE strike_key = ?`,
		foldedID(key), foldedID(key), key[:])
	switch {
	case err == nil && !found: // folded in between
		err = ErrRetry
	case err == nil && failures > 0:
		strikes = authority.Strikes{Failures: int(failures), LockedAt: Moment(locked)}
		err = unfold(t, key, strikes)
	}
	return strikes, err
}

const selectStrikes = `SELECT failures, locked_at, manual FROM strikes WHERE strike_key = ?`

func scanStrikes(r Row, further ...any) (authority.Strikes, error) {
	var strikes authority.Strikes
	var failures, locked, manual int64
	err := r.Scan(append([]any{&failures, &locked, &manual}, further...)...)
	strikes.Failures, strikes.LockedAt, strikes.Manual = int(failures), Moment(locked), manual != 0
	return strikes, err
}

func putStrikes(t Tx, key authority.StrikeKey, strikes authority.Strikes, now time.Time) error {
	_, err := t.Exec(`UPDATE strikes SET failures = ?, locked_at = ?, manual = ?, updated_at = ? WHERE strike_key = ?`,
		strikes.Failures, Micros(strikes.LockedAt), boolToInt(strikes.Manual), Micros(now), key[:])
	return err
}

// ReserveStrike implements authority.StrikeStore.
func (db *Tables) ReserveStrike(ctx context.Context, key authority.StrikeKey, limit authority.StrikeLimit) (authority.Reservation, error) {
	reservation := authority.Reservation{Key: key, Max: limit.Max, ExpiresAt: limit.Now.Add(limit.Hold)}
	_, _ = rand.Read(reservation.ID[:])
	locked := false
	err := db.engine.Write(ctx, func(t Tx) error {
		locked = false
		strikes, err := lockStrikes(t, key)
		if err != nil {
			return err
		}
		if strikes.LockedAt.After(limit.Now) { // a clock was ahead
			strikes.LockedAt, locked = limit.Now, true
			return putStrikes(t, key, strikes, limit.Now)
		}
		if !strikes.LockedAt.IsZero() {
			lifted := limit.UnlockAfter > 0 && !strikes.Manual && !limit.Now.Before(strikes.LockedAt.Add(limit.UnlockAfter))
			if !lifted {
				return authority.ErrLocked
			}
			strikes = authority.Strikes{}
		}
		if strikes.Failures >= limit.Max { // the limit was lowered meanwhile
			return authority.ErrLocked
		}
		// Those of a clock that was ahead run out as well.
		if _, err := t.Exec(`DELETE FROM reservations WHERE strike_key = ? AND (expires_at <= ? OR expires_at > ?)`,
			key[:], Micros(limit.Now), Micros(limit.Now.Add(longestHold*limit.Hold))); err != nil {
			return err
		}
		reserved := 0
		if err := t.Query(func(r Row) error { return r.Scan(&reserved) },
			`SELECT count(*) FROM reservations WHERE strike_key = ?`, key[:]); err != nil {
			return err
		}
		if strikes.Failures+reserved >= limit.Max {
			return authority.ErrBusy
		}
		if err := putStrikes(t, key, strikes, limit.Now); err != nil {
			return err
		}
		_, err = t.Exec(`INSERT INTO reservations (id, strike_key, expires_at) VALUES (?, ?, ?)`,
			reservation.ID[:], key[:], Micros(reservation.ExpiresAt))
		return err
	})
	if err == nil && locked {
		err = authority.ErrLocked
	}
	if err != nil {
		return authority.Reservation{}, err
	}
	return reservation, nil
}

// longestHold is how many times its hold a reservation may end later than now: programs
// of the version before hold theirs for longer.
const longestHold = 15

// ExtendStrike implements authority.StrikeStore.
func (db *Tables) ExtendStrike(ctx context.Context, reservation authority.Reservation, now time.Time, hold time.Duration) error {
	return db.engine.Write(ctx, func(t Tx) error {
		n, err := t.Exec(`UPDATE reservations SET expires_at = ? WHERE id = ? AND expires_at > ?`,
			Micros(now.Add(hold)), reservation.ID[:], Micros(now))
		return RequireChange(n, err, authority.ErrReservationLost)
	})
}

// SettleStrike implements authority.StrikeStore.
func (db *Tables) SettleStrike(ctx context.Context, reservation authority.Reservation, outcome authority.Outcome, now time.Time) (authority.Strikes, error) {
	return db.settleStrike(ctx, reservation, now, func(Tx) (authority.Outcome, error) { return outcome, nil })
}

// FailStrike implements authority.StrikeStore.
func (db *Tables) FailStrike(
	ctx context.Context, reservation authority.Reservation, guess authority.Guess, now time.Time,
) (strikes authority.Strikes, counted bool, err error) {
	strikes, err = db.settleStrike(ctx, reservation, now, func(t Tx) (authority.Outcome, error) {
		repeated, err := addGuess(t, reservation.Key, guess)
		if counted = !repeated; repeated {
			return authority.Abandoned, err
		}
		return authority.Failed, err
	})
	return strikes, counted && err == nil, err
}

// maxGuesses is how many wrong passwords of a user name are remembered.
const maxGuesses = 16

// addGuess remembers a guess under a key whose strikes are locked, and reports
// whether it was remembered before.
func addGuess(t Tx, key authority.StrikeKey, guess authority.Guess) (repeated bool, err error) {
	var guesses []byte // the newest first
	if err := t.Query(func(r Row) error { return r.Scan(&guesses) }, `SELECT guesses FROM strikes WHERE strike_key = ?`, key[:]); err != nil {
		return false, err
	}
	for earlier := range slices.Chunk(guesses, len(guess)) {
		if bytes.Equal(earlier, guess[:]) {
			return true, nil
		}
	}
	guesses = append(guess[:], guesses...)
	_, err = t.Exec(`UPDATE strikes SET guesses = ? WHERE strike_key = ?`, guesses[:min(len(guesses), maxGuesses*len(guess))], key[:])
	return false, err
}

// settleStrike settles a reservation with what outcome returns, which runs in the
// same transaction.
func (db *Tables) settleStrike(
	ctx context.Context, reservation authority.Reservation, now time.Time, outcome func(Tx) (authority.Outcome, error),
) (authority.Strikes, error) {
	var strikes authority.Strikes
	err := db.engine.Write(ctx, func(t Tx) (err error) {
		if strikes, err = lockStrikes(t, reservation.Key); err != nil {
			return err
		}
		n, err := t.Exec(`DELETE FROM reservations WHERE id = ? AND expires_at > ?`, reservation.ID[:], Micros(now))
		if err := RequireChange(n, err, authority.ErrReservationLost); err != nil {
			return err
		}
		outcome, err := outcome(t)
		if err != nil {
			return err
		}
		switch outcome {
		case authority.Failed:
			strikes.Failures++
			if strikes.Failures >= reservation.Max && strikes.LockedAt.IsZero() {
				strikes.LockedAt = now
			}
		case authority.Succeeded:
			strikes.Failures = 0
		default:
			return nil
		}
		return putStrikes(t, reservation.Key, strikes, now)
	})
	if err != nil {
		return authority.Strikes{}, err
	}
	// What was settled is settled; the next one tries again to make room.
	_ = db.fold(ctx)
	return strikes, nil
}

// Strikes implements authority.StrikeStore.
func (db *Tables) Strikes(ctx context.Context, key authority.StrikeKey) (strikes authority.Strikes, err error) {
	err = db.engine.Query(ctx, func(r Row) (err error) {
		strikes, err = scanStrikes(r)
		return err
	}, selectStrikes, key[:])
	return strikes, err
}

// SetStrikes implements authority.StrikeStore.
func (db *Tables) SetStrikes(ctx context.Context, key authority.StrikeKey, strikes authority.Strikes) error {
	return db.engine.Write(ctx, func(t Tx) error { return setStrikes(t, key, strikes) })
}

func setStrikes(t Tx, key authority.StrikeKey, strikes authority.Strikes) error {
	if _, err := lockStrikes(t, key); err != nil {
		return err
	}
	if _, err := t.Exec(`DELETE FROM reservations WHERE strike_key = ?`, key[:]); err != nil {
		return err
	}
	return putStrikes(t, key, strikes, strikes.LockedAt)
}

// forgetStrikes removes everything that is counted under a key, for a new user.
func forgetStrikes(t Tx, key authority.StrikeKey) error {
	if err := setStrikes(t, key, authority.Strikes{}); err != nil {
		return err
	}
	_, err := t.Exec(`UPDATE strikes SET guesses = ? WHERE strike_key = ?`, []byte{}, key[:])
	return err
}
