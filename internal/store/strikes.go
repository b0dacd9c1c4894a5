package store

import (
	"context"
	"encoding/binary"
	"slices"

	"github.com/latchkey/latchkey/internal/authority"
)

// UpdateStrikes implements authority.StrikeStore.
func (db *Tables) UpdateStrikes(
	ctx context.Context, key authority.StrikeKey, change func(*authority.Strikes) error,
) error {
	return db.engine.Write(ctx, func(t Tx) error {
		strikes, err := lockStrikes(t, key)
		if err != nil {
			return err
		}
		if err := change(&strikes); err != nil {
			return err
		}
		_, err = t.Exec(`UPDATE strikes
			SET failures = ?, locked_at = ?, manual = ?, reservations = ?, guesses = ?, updated_at = ?
			WHERE strike_key = ?`, strikes.Failures, Micros(strikes.LockedAt), boolToInt(strikes.Manual),
			encodeReservations(strikes.Reservations), encodeGuesses(strikes.Guesses), Micros(strikes.ChangedAt), key[:])
		return err
	})
}

// lockStrikes locks the strikes of a key and returns them. Only a row can be locked, so
// lockStrikes first makes one if there is none. It looks for folded strikes in any case,
// so that it takes as long for a user as for a name that no user has.
func lockStrikes(t Tx, key authority.StrikeKey) (strikes authority.Strikes, err error) {
	_, err = t.Exec(`INSERT INTO strikes (strike_key, failures, locked_at, manual, reservations, guesses, updated_at)
		VALUES (?, 0, 0, 0, ?, ?, 0) ON CONFLICT DO NOTHING`, key[:], []byte{}, []byte{})
	if err != nil {
		return strikes, err
	}
	found := false
	var failures, locked int64
	err = t.QueryLocked(func(r Row) (err error) {
		strikes, err = scanStrikes(r, &failures, &locked)
		found = true
		return err
	}, `SELECT `+strikeColumns+`, COALESCE((SELECT f.failures FROM folded_strikes f WHERE f.id = ?), 0),
		COALESCE((SELECT f.locked_at FROM folded_strikes f WHERE f.id = ?), 0) FROM strikes WHERE strike_key = ?`,
		foldedID(key), foldedID(key), key[:])
	switch {
	case err == nil && !found: // it was folded in between
		err = ErrRetry
	case err == nil && failures > 0:
		strikes.Failures, strikes.LockedAt = int(failures), Moment(locked)
		_, err = t.Exec(`DELETE FROM folded_strikes WHERE id = ?`, foldedID(key))
	}
	return strikes, err
}

const strikeColumns = `failures, locked_at, manual, reservations, guesses, updated_at`

// scanStrikes scans strikeColumns and further columns.
func scanStrikes(r Row, further ...any) (authority.Strikes, error) {
	var strikes authority.Strikes
	var failures, locked, manual, updated int64
	var reservations, guesses []byte
	err := r.Scan(append([]any{&failures, &locked, &manual, &reservations, &guesses, &updated}, further...)...)
	strikes.Failures, strikes.LockedAt, strikes.Manual = int(failures), Moment(locked), manual != 0
	strikes.Reservations, strikes.Guesses = decodeReservations(reservations), decodeGuesses(guesses)
	strikes.ChangedAt = Moment(updated)
	return strikes, err
}

// A reservation is stored as its ID and the microseconds at which it expires.
const reservationBytes = len(authority.ReservationID{}) + 8

func encodeReservations(reservations []authority.Reservation) []byte {
	encoded := make([]byte, 0, len(reservations)*reservationBytes)
	for _, r := range reservations {
		encoded = append(encoded, r.ID[:]...)
		encoded = binary.BigEndian.AppendUint64(encoded, uint64(Micros(r.ExpiresAt))) //nolint:gosec // the same bits
	}
	return encoded
}

func decodeReservations(encoded []byte) (reservations []authority.Reservation) {
	for part := range slices.Chunk(encoded, reservationBytes) {
		id, at := part[:len(authority.ReservationID{})], part[len(authority.ReservationID{}):]
		reservations = append(reservations, authority.Reservation{
			ID:        authority.ReservationID(id),
			ExpiresAt: Moment(int64(binary.BigEndian.Uint64(at))), //nolint:gosec // the same bits
		})
	}
	return reservations
}

func encodeGuesses(guesses []authority.Guess) []byte {
	encoded := make([]byte, 0, len(guesses)*len(authority.Guess{}))
	for _, guess := range guesses {
		encoded = append(encoded, guess[:]...)
	}
	return encoded
}

func decodeGuesses(encoded []byte) (guesses []authority.Guess) {
	for part := range slices.Chunk(encoded, len(authority.Guess{})) {
		guesses = append(guesses, authority.Guess(part))
	}
	return guesses
}

// Strikes implements authority.StrikeStore.
func (db *Tables) Strikes(ctx context.Context, key authority.StrikeKey) (strikes authority.Strikes, err error) {
	found := false
	err = db.engine.Query(ctx, func(r Row) (err error) {
		strikes, err = scanStrikes(r)
		found = true
		return err
	}, `SELECT `+strikeColumns+` FROM strikes WHERE strike_key = ?`, key[:])
	if err != nil || found {
		return strikes, err
	}
	var locked int64
	err = db.engine.Query(ctx, func(r Row) error { return r.Scan(&strikes.Failures, &locked) },
		`SELECT failures, locked_at FROM folded_strikes WHERE id = ?`, foldedID(key))
	strikes.LockedAt = Moment(locked)
	return strikes, err
}

// resetStrikes removes everything that is counted under a key, for a new user.
func resetStrikes(t Tx, key authority.StrikeKey) error {
	if _, err := t.Exec(`INSERT INTO strikes (strike_key, failures, locked_at, manual, reservations, guesses, updated_at)
		VALUES (?, 0, 0, 0, ?, ?, 0) ON CONFLICT (strike_key) DO UPDATE SET failures = 0, locked_at = 0, manual = 0,
		reservations = excluded.reservations, guesses = excluded.guesses`, key[:], []byte{}, []byte{}); err != nil {
		return err
	}
	_, err := t.Exec(`DELETE FROM folded_strikes WHERE id = ?`, foldedID(key))
	return err
}
