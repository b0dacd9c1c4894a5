package sqlstore

import "context"

// SyncClock has a replica look at the database's clock now.
func SyncClock(ctx context.Context, db *Postgres) error { return db.clock.sync(ctx, db.askTime) }
