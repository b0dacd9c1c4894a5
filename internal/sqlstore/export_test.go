package sqlstore

import (
	"context"
	"time"
)

// SyncClock has a replica look at the database's clock now.
func SyncClock(ctx context.Context, db *Postgres) error { return db.clock.sync(ctx, db.askTime) }

// LoadSome reads sessions behind the given row into the index, as after a start.
func LoadSome(ctx context.Context, db *DB, number int64) (int64, error) {
	return db.loadSome(ctx, number)
}

// WithBootClock returns the options with another clock for heartbeats.
func WithBootClock(options PostgresOptions, clock func() time.Duration) PostgresOptions {
	options.bootClock = clock
	return options
}

// BootTime is the clock for heartbeats of this machine.
func BootTime() time.Duration { return bootTime() }

// Trusts reports whether a replica trusts what it has in its cache.
func Trusts(db *Postgres) bool { return db.cache.settle(context.Background()) }

// CacheHits counts the checks that were answered from the cache of a replica.
func CacheHits(db *Postgres) int64 { return db.cache.hits.Load() }

// CaughtUp reports whether a replica has received everything that was committed before
// it was called, or else trusts nothing. It waits for a heartbeat that is sent later.
func CaughtUp(ctx context.Context, db *Postgres) bool {
	called := db.cache.clock()
	for ctx.Err() == nil {
		beat := db.cache.beat.Load()
		if beat == nil || beat.sent >= called {
			return true
		}
		db.cache.want()
		pause := time.NewTimer(time.Millisecond)
		<-pause.C
	}
	return false
}
