package postgres

import (
	"context"
	"time"
)

// SyncClock makes a replica read the database's clock now.
func SyncClock(ctx context.Context, db *DB) error { return db.clock.sync(ctx, db.askTime) }

// WithBootClock returns the options with another clock for heartbeats.
func WithBootClock(options Options, clock func() time.Duration) Options {
	options.bootClock = clock
	return options
}

// BootTime is the clock for heartbeats of this machine.
func BootTime() time.Duration { return bootTime() }

// Trusts reports whether a replica trusts its cache.
func Trusts(db *DB) bool { return db.cache.settle(context.Background()) }

// CacheHits counts the checks whose session was in the cache of a replica.
func CacheHits(db *DB) int64 { return db.cache.hits.Load() }

// CaughtUp waits until a replica has received everything that was committed before the call,
// or trusts nothing.
func CaughtUp(ctx context.Context, db *DB) bool {
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

// ImportedTables lists the tables that Import copies.
func ImportedTables() (names []string) {
	for _, table := range imported {
		names = append(names, table.name)
	}
	return names
}
