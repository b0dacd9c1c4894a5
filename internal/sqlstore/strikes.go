package sqlstore

import (
	"context"
	"crypto/rand"
	"time"

	"github.com/latchkey/latchkey/internal/authority"
)

// Strikes of names that nobody has are kept for the newest so many, so that
// guessing at names cannot fill the disk. They are trimmed every trimStrikes
// additions.
const (
	maxUnknownStrikes = 100_000
	trimStrikes       = 1000
)

// strikesOf reads within the writer's transaction.
func strikesOf(t tx, key authority.StrikeKey) (strikes authority.Strikes, found bool, err error) {
	err = t.query(func(r row) (err error) {
		strikes, err = scanStrikes(r)
		found = true
		return err
	}, selectStrikes, key[:])
	return strikes, found, err
}

const selectStrikes = `SELECT failures, locked_at, manual FROM strikes WHERE strike_key = ?`

func scanStrikes(r row) (authority.Strikes, error) {
	var strikes authority.Strikes
	var locked int64
	err := r.Scan(&strikes.Failures, &locked, &strikes.Manual)
	strikes.LockedAt = moment(locked)
	return strikes, err
}

func (db *DB) putStrikes(t tx, key authority.StrikeKey, strikes authority.Strikes, now time.Time) error {
	_, err := t.exec(`INSERT INTO strikes (strike_key, failures, locked_at, manual, updated_at) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (strike_key) DO UPDATE SET failures = excluded.failures, locked_at = excluded.locked_at,
		manual = excluded.manual, updated_at = excluded.updated_at`,
		key[:], strikes.Failures, micros(strikes.LockedAt), strikes.Manual, micros(now))
	if err != nil {
		return err
	}
	if db.strikes++; db.strikes < trimStrikes {
		return nil
	}
	db.strikes = 0
	_, err = t.exec(`DELETE FROM strikes WHERE strike_key IN (SELECT strike_key FROM strikes
		WHERE strike_key NOT IN (SELECT strike_key FROM users) ORDER BY updated_at DESC LIMIT -1 OFFSET ?)`, maxUnknownStrikes)
	return err
}

// ReserveStrike implements authority.StrikeStore.
func (db *DB) ReserveStrike(ctx context.Context, key authority.StrikeKey, limit authority.StrikeLimit) (authority.Reservation, error) {
	reservation := authority.Reservation{Key: key, Max: limit.Max, ExpiresAt: limit.Now.Add(limit.Hold)}
	_, _ = rand.Read(reservation.ID[:])
	err := db.write(ctx, func(t tx) error {
		strikes, found, err := strikesOf(t, key)
		if err != nil {
			return err
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
		if _, err := t.exec(`DELETE FROM reservations WHERE strike_key = ? AND expires_at <= ?`, key[:], micros(limit.Now)); err != nil {
			return err
		}
		reserved := 0
		if err := t.query(func(r row) error { return r.Scan(&reserved) },
			`SELECT count(*) FROM reservations WHERE strike_key = ?`, key[:]); err != nil {
			return err
		}
		if strikes.Failures+reserved >= limit.Max {
			return authority.ErrBusy
		}
		if found {
			if err := db.putStrikes(t, key, strikes, limit.Now); err != nil {
				return err
			}
		}
		_, err = t.exec(`INSERT INTO reservations (id, strike_key, expires_at) VALUES (?, ?, ?)`,
			reservation.ID[:], key[:], micros(reservation.ExpiresAt))
		return err
	})
	if err != nil {
		return authority.Reservation{}, err
	}
	return reservation, nil
}

// SettleStrike implements authority.StrikeStore.
func (db *DB) SettleStrike(ctx context.Context, reservation authority.Reservation, outcome authority.Outcome, now time.Time) (authority.Strikes, error) {
	var strikes authority.Strikes
	err := db.write(ctx, func(t tx) error {
		n, err := t.exec(`DELETE FROM reservations WHERE id = ? AND expires_at > ?`, reservation.ID[:], micros(now))
		if err := wanted(n, err, authority.ErrReservationLost); err != nil {
			return err
		}
		found := false
		if strikes, found, err = strikesOf(t, reservation.Key); err != nil {
			return err
		}
		switch {
		case outcome == authority.Failed:
			strikes.Failures++
			if strikes.Failures >= reservation.Max && strikes.LockedAt.IsZero() {
				strikes.LockedAt = now
			}
		case outcome == authority.Succeeded && found:
			strikes.Failures = 0
		default:
			return nil
		}
		return db.putStrikes(t, reservation.Key, strikes, now)
	})
	if err != nil {
		return authority.Strikes{}, err
	}
	return strikes, nil
}

// Strikes implements authority.StrikeStore.
func (db *DB) Strikes(ctx context.Context, key authority.StrikeKey) (strikes authority.Strikes, err error) {
	err = db.query(ctx, func(r row) (err error) {
		strikes, err = scanStrikes(r)
		return err
	}, selectStrikes, key[:])
	return strikes, err
}

// SetStrikes implements authority.StrikeStore.
func (db *DB) SetStrikes(ctx context.Context, key authority.StrikeKey, strikes authority.Strikes) error {
	return db.write(ctx, func(t tx) error {
		if strikes == (authority.Strikes{}) {
			_, err := t.exec(`DELETE FROM strikes WHERE strike_key = ?`, key[:])
			return err
		}
		return db.putStrikes(t, key, strikes, strikes.LockedAt)
	})
}
