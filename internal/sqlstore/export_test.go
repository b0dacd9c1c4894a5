package sqlstore

import "context"

// SyncClock has a replica look at the database's clock now.
func SyncClock(ctx context.Context, db *Postgres) error { return db.clock.sync(ctx, db.askTime) }

// LoadSome reads sessions behind the given row into the index, as after a start.
func LoadSome(ctx context.Context, db *DB, number int64) (int64, error) {
	return db.loadSome(ctx, number)
}
