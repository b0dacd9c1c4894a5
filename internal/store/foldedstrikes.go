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

// Strikes of names that nobody has must not be told from those of users, nor may guessing
// at names fill the disk. So all but the newest are folded: kept in a table with a
// number, a count and a time for each name. It is bounded, too, and much larger. Which
// of them are removed is random: nobody can drive a particular one out, except by
// filling the table with several times as many others as it holds, each of which costs
// a password hash.
const (
	maxUnknownStrikes = 100_000
	maxFolded         = 4_000_000
	foldStrikes       = 1000 // it is done once for so many that are settled, and twice as many at once
	foldedParts       = 1024 // the table is counted and emptied by parts
)

// foldedID is what folded strikes are kept under. Keys are hashes, so any of their bits
// will do.
func foldedID(key authority.StrikeKey) int64 {
	return int64(binary.BigEndian.Uint64(key[:])) //nolint:gosec // only its bits matter
}

// fold folds the strikes of names that nobody has, past the newest.
func (db *Tables) fold(ctx context.Context) error {
	if db.settled.Add(1)%foldStrikes != 0 {
		return nil
	}
	var before int64
	err := db.engine.Query(ctx, func(r Row) error { return r.Scan(&before) },
		`SELECT updated_at FROM strikes ORDER BY updated_at DESC LIMIT 1 OFFSET ?`, db.FoldAbove)
	if err != nil || before == 0 {
		return err
	}
	err = db.engine.Write(ctx, func(t Tx) error { return foldSome(t, before, 2*foldStrikes) })
	if err != nil {
		return err
	}
	return db.engine.Write(ctx, func(t Tx) error { return trimFolded(t, maxFolded/foldedParts, rand.Int64N(foldedParts)) }) //nolint:gosec // spreading needs no secrecy
}

// foldSome folds up to limit strikes that were not changed after a time.
func foldSome(t Tx, before int64, limit int) error {
	var keys []authority.StrikeKey
	var all []authority.Strikes
	err := t.QueryLocked(func(r Row) error {
		var key []byte
		strikes, err := scanStrikes(r, &key)
		keys, all = append(keys, authority.StrikeKey(key)), append(all, strikes)
		return err
	}, `SELECT failures, locked_at, manual, strike_key FROM strikes WHERE updated_at <= ?
		AND NOT EXISTS (SELECT 1 FROM users u WHERE u.strike_key = strikes.strike_key) ORDER BY strike_key LIMIT ?`, before, limit)
	if err != nil {
		return err
	}
	var rows, gone [][]any
	for i, key := range keys {
		gone = append(gone, []any{keys[i][:]})
		if all[i].Failures > 0 {
			rows = append(rows, []any{foldedID(key), all[i].Failures, Micros(all[i].LockedAt)})
		}
	}
	// Few statements, each for many rows.
	err = execMany(t, rows, `INSERT INTO folded_strikes (id, failures, locked_at) VALUES `, `(?, ?, ?)`,
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

// unfold takes strikes back whose row is locked.
func unfold(t Tx, key authority.StrikeKey, strikes authority.Strikes) error {
	if _, err := t.Exec(`DELETE FROM folded_strikes WHERE id = ?`, foldedID(key)); err != nil {
		return err
	}
	_, err := t.Exec(`UPDATE strikes SET failures = ?, locked_at = ? WHERE strike_key = ?`, strikes.Failures, Micros(strikes.LockedAt), key[:])
	return err
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
