package postgres

import (
	"context"
	"time"
)

// HoldLeaderLock implements authority.LeaderLock. The database decides, by its own
// clock.
func (db *DB) HoldLeaderLock(ctx context.Context, name string, hold time.Duration) (bool, error) {
	n, err := db.engine.exec(ctx, `INSERT INTO leader_locks (name, holder, expires_at) VALUES (?, ?, `+nowMicros+` + ?)
		ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, expires_at = excluded.expires_at
		WHERE leader_locks.holder = excluded.holder OR leader_locks.expires_at <= `+nowMicros+`
		OR leader_locks.expires_at > `+nowMicros+` + ?`, // set while the clock of the database was ahead
		name, db.holder[:], hold.Microseconds(), 2*hold.Microseconds())
	return n > 0, err
}

// nowMicros is the SQL for the database's time in microseconds.
const nowMicros = `(extract(epoch FROM clock_timestamp()) * 1000000)::BIGINT`
