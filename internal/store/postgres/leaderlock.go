package postgres

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"slices"
	"time"

	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/store"
)

// HoldLeaderLock implements authority.LeaderLock. Whose turn it is says the database, by its
// own clock.
func (db *DB) HoldLeaderLock(ctx context.Context, name string, hold time.Duration) (bool, error) {
	n, err := db.engine.exec(ctx, `INSERT INTO leader_locks (name, holder, expires_at) VALUES (?, ?, `+nowMicros+` + ?)
		ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, expires_at = excluded.expires_at
		WHERE leader_locks.holder = excluded.holder OR leader_locks.expires_at <= `+nowMicros+`
		OR leader_locks.expires_at > `+nowMicros+` + ?`, // the clock of the database was ahead
		name, db.holder[:], hold.Microseconds(), 2*hold.Microseconds())
	return n > 0, err
}

// nowMicros is the database's time.
const nowMicros = `(extract(epoch FROM clock_timestamp()) * 1000000)::BIGINT`

// AppendAudit implements authority.AuditStore. The trail has one end, which is
// locked while it is written; so what this replica has to add is gathered.
func (db *DB) AppendAudit(ctx context.Context, events ...authority.Event) error {
	failed, err := db.trail.ask(ctx, events)
	return errors.Join(err, failed)
}

// appendGathered appends what several callers have, in one transaction. If that
// fails, each caller's events are appended alone, so that no caller loses events
// because of another's.
func (db *DB) appendGathered(ctx context.Context, all [][]authority.Event) ([]error, error) {
	failed := make([]error, len(all))
	err := db.Tables.AppendAudit(ctx, slices.Concat(all...)...)
	if err == nil || len(all) == 1 {
		return failed, err
	}
	for i, events := range all {
		failed[i] = db.Tables.AppendAudit(ctx, events...)
	}
	return failed, nil
}

// ErrOtherKey is the answer to a server key that is not that of the other replicas.
var ErrOtherKey = errors.New("the server key is not the one that the other replicas have")

// AgreeOnKey has all replicas use one server key: the first one sets it. What is
// stored tells nothing about it.
func (db *DB) AgreeOnKey(ctx context.Context, key []byte) error {
	mine := keySum(key)
	agreed, err := db.agree(ctx, "server-key", mine[:])
	if err != nil {
		return db.cannot("asked for the server key", err)
	}
	if subtle.ConstantTimeCompare(mine[:], agreed) != 1 {
		return ErrOtherKey
	}
	return nil
}

// ReplaceKey makes another server key the one that replicas agree on. Those that run do
// not notice.
func (db *DB) ReplaceKey(ctx context.Context, key []byte) error {
	mine := keySum(key)
	if _, err := db.engine.exec(ctx, `INSERT INTO shared_settings (name, value) VALUES ('server-key', ?)
		ON CONFLICT (name) DO UPDATE SET value = excluded.value`, mine[:]); err != nil {
		return db.cannot("given another server key", err)
	}
	return nil
}

func keySum(key []byte) [sha256.Size]byte {
	return sha256.Sum256(append([]byte("latchkey server key\x00"), key...))
}

// agree answers what all replicas have under a name: the proposal of the first.
func (db *DB) agree(ctx context.Context, name string, proposal []byte) (agreed []byte, err error) {
	err = db.engine.Write(ctx, func(t store.Tx) error {
		if _, err := t.Exec(`INSERT INTO shared_settings (name, value) VALUES (?, ?) ON CONFLICT DO NOTHING`, name, proposal); err != nil {
			return err
		}
		return t.Query(func(r store.Row) error { return r.Scan(&agreed) }, `SELECT value FROM shared_settings WHERE name = ?`, name)
	})
	return agreed, err
}
