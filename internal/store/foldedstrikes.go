package store

import (
	"context"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/latchkey/latchkey/internal/authority"
)

// Folded strikes are kept in a table of their own, with a number, a count and a time for
// each name.

// foldedParts is the number of parts in which that table is counted and trimmed.
const foldedParts = 1024

// foldedID returns the number that folded strikes are stored under. Keys are hashes, so
// any of their bits will do.
func foldedID(key authority.StrikeKey) int64 {
	return int64(binary.BigEndian.Uint64(key[:])) //nolint:gosec // only its bits matter
}

// FoldStrikes implements authority.StrikeStore.
func (db *Tables) FoldStrikes(ctx context.Context, bounds authority.FoldBounds) error {
	var before int64
	err := db.engine.Query(ctx, func(r Row) error { return r.Scan(&before) },
		`SELECT updated_at FROM strikes ORDER BY updated_at DESC LIMIT 1 OFFSET ?`, bounds.Keep)
	if err != nil || before == 0 {
		return err
	}
	err = db.engine.Write(ctx, func(t Tx) error { return foldOldest(t, before, bounds) })
	if err != nil {
		return err
	}
	part := rand.Int64N(foldedParts) //nolint:gosec // spreading needs no secrecy
	return db.engine.Write(ctx, func(t Tx) error { return trimFolded(t, bounds.Most/foldedParts, part) })
}

// foldOldest folds strikes that did not change after a time.
func foldOldest(t Tx, before int64, bounds authority.FoldBounds) error {
	var keys []authority.StrikeKey
	var all []authority.Strikes
	err := t.QueryLocked(func(r Row) error {
		var key []byte
		strikes, err := scanStrikes(r, &key)
		keys, all = append(keys, authority.StrikeKey(key)), append(all, strikes)
		return err
	}, `SELECT `+strikeColumns+`, strike_key FROM strikes WHERE updated_at <= ? AND (reservations = ? OR updated_at < ?)
		AND NOT EXISTS (SELECT 1 FROM users u WHERE u.strike_key = strikes.strike_key) ORDER BY strike_key LIMIT ?`,
		before, []byte{}, Micros(bounds.ReservedBefore), bounds.AtOnce)
	if err != nil {
		return err
	}
	var folded, gone [][]any
	for i, key := range keys {
		gone = append(gone, []any{keys[i][:]})
		if all[i].Failures > 0 {
			folded = append(folded, []any{foldedID(key), all[i].Failures, Micros(all[i].LockedAt)})
		}
	}
	// Few statements, each for many rows.
	err = execMany(t, folded, `INSERT INTO folded_strikes (id, failures, locked_at) VALUES `, `(?, ?, ?)`,
		` ON CONFLICT (id) DO UPDATE SET failures = excluded.failures, locked_at = excluded.locked_at`)
	if err != nil {
		return err
	}
	return execMany(t, gone, `DELETE FROM strikes WHERE strike_key IN (`, `?`, `)`)
}

// execMany runs a statement for rows of arguments, some at a time.
func execMany(t Tx, rows [][]any, before, row, after string) error {
	const some = 100
	for chunk := range slices.Chunk(rows, some) {
		query := before + strings.Repeat(row+`, `, len(chunk)-1) + row + after
		if _, err := t.Exec(query, slices.Concat(chunk...)...); err != nil {
			return err
		}
	}
	return nil
}

// trimFolded removes a random half of a part that has more rows than its share.
func trimFolded(t Tx, share int, part int64) error {
	const width = math.MaxUint64/foldedParts + 1
	first := math.MinInt64 + part*width
	rows := 0
	if err := t.Query(func(r Row) error { return r.Scan(&rows) },
		`SELECT count(*) FROM folded_strikes WHERE id BETWEEN ? AND ?`, first, first+(width-1)); err != nil {
		return err
	}
	if rows <= share {
		return nil
	}
	first += rand.Int64N(2) * (width / 2) //nolint:gosec // spreading needs no secrecy
	_, err := t.Exec(`DELETE FROM folded_strikes WHERE id BETWEEN ? AND ?`, first, first+(width/2-1))
	return err
}
