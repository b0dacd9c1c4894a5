package sqlite

import (
	"context"
	"errors"
	"fmt"

	"github.com/latchkey/latchkey/internal/store"
)

// LoadSome reads sessions behind the given row into the index, as after a start.
func LoadSome(ctx context.Context, db *DB, number int64) (int64, error) {
	return db.loadSome(ctx, number)
}

// Pragma sets a pragma of the connection that writes.
func Pragma(ctx context.Context, db *DB, name string, value int64) error {
	return db.write(ctx, func(t store.Tx) error {
		return t.Query(func(store.Row) error { return nil }, fmt.Sprintf("PRAGMA %s = %d", name, value))
	})
}

// PragmaValues returns the value of a pragma on each connection that is open.
func PragmaValues(ctx context.Context, db *DB, name string) (values []string, err error) {
	scan := func(r store.Row) error {
		var value string
		err := r.Scan(&value)
		values = append(values, value)
		return err
	}
	err = db.write(ctx, func(t store.Tx) error { return t.Query(scan, "PRAGMA "+name) })
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
		_ = db.write(ctx, func(store.Tx) error {
			close(held)
			<-free
			return nil
		})
	}()
	<-held
	return func() { close(free) }
}

// WriteLastUses writes the exact last uses of all sessions.
func WriteLastUses(ctx context.Context, db *DB) error { return db.settleLastUses(ctx) }

// Waiting is how many changes wait for the writer.
func Waiting(db *DB) int { return len(db.writer.queue) }
