package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// SyncClock has a replica look at the database's clock now.
func SyncClock(ctx context.Context, db *Postgres) error { return db.clock.sync(ctx, db.askTime) }

// LoadSome reads sessions behind the given row into the index, as after a start.
func LoadSome(ctx context.Context, db *DB, number int64) (int64, error) {
	return db.loadSome(ctx, number)
}

// KeepUnknown bounds the names that nobody has whose strikes are not folded.
func (db *tables) KeepUnknown(n int) { db.unknown = n }

// CountFolded counts the strikes that are folded.
func CountFolded(ctx context.Context, db *DB) (n int, err error) {
	err = db.query(ctx, func(r row) error { return r.Scan(&n) }, `SELECT count(*) FROM folded_strikes`)
	return n, err
}

// TrimFolded trims every part of the folded strikes to a share.
func TrimFolded(ctx context.Context, db *DB, share int) error {
	return db.write(ctx, func(t tx) error {
		for part := range int64(foldedParts) {
			if err := trimFolded(t, share, part); err != nil {
				return err
			}
		}
		return nil
	})
}

// Pragma sets a pragma of the connection that writes.
func Pragma(ctx context.Context, db *DB, name string, value int64) error {
	return db.write(ctx, func(t tx) error {
		return t.query(func(row) error { return nil }, fmt.Sprintf("PRAGMA %s = %d", name, value))
	})
}

// PragmaValues returns the value of a pragma on each connection that is open.
func PragmaValues(ctx context.Context, db *DB, name string) (values []string, err error) {
	scan := func(r row) error {
		var value string
		err := r.Scan(&value)
		values = append(values, value)
		return err
	}
	err = db.write(ctx, func(t tx) error { return t.query(scan, "PRAGMA "+name) })
	for range maxReaders {
		conn, open := db.reads.Conn(ctx)
		if err = errors.Join(err, open); err != nil {
			return values, err
		}
		defer func() { _ = conn.Close() }()
		rows, query := conn.QueryContext(ctx, "PRAGMA "+name)
		if err = query; err == nil {
			err = each(rows, scan)
		}
	}
	return values, err
}

// HoldWriter lets nothing be written until release is called, so that what comes in the
// meantime is one batch.
func HoldWriter(ctx context.Context, db *DB) (release func()) {
	held, free := make(chan struct{}), make(chan struct{})
	go func() {
		_ = db.write(ctx, func(tx) error {
			close(held)
			<-free
			return nil
		})
	}()
	<-held
	return func() { close(free) }
}

// WriteLastUses writes the exact last uses of all sessions.
func WriteLastUses(ctx context.Context, db *DB) error { return db.settleSlides(ctx) }

// Waiting is how many changes wait for the writer.
func Waiting(db *DB) int { return len(db.writer.queue) }

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

// ImportedTables lists the tables that Import copies.
func ImportedTables() (names []string) {
	for _, table := range imported {
		names = append(names, table.name)
	}
	return names
}
