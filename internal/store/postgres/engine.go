package postgres

import (
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/latchkey/latchkey/internal/store"
)

// How often a transaction is tried that failed because of another one, or of a connection
// that was closed before its use, and how long the pause before the next try is at most.
const (
	maxTries   = 12
	longestLag = 40 * time.Millisecond
)

// engine implements store.Engine.
type engine struct{ pool *pgxpool.Pool }

// Write implements store.Engine. Rows are locked before they are changed, so that two
// concurrent transactions run one after the other. If the server detects a conflict only
// later, the transaction runs again.
func (e engine) Write(ctx context.Context, do func(store.Tx) error) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	return e.again(ctx, func() error {
		return pgx.BeginFunc(ctx, e.pool, func(open pgx.Tx) error { return do(transaction{ctx, open}) })
	})
}

// again calls do until it succeeds or fails permanently. A call whose change may have happened
// is not repeated.
func (e engine) again(ctx context.Context, do func() error) error {
	for try := 1; ; try++ {
		err := do()
		if err == nil || try == maxTries || ctx.Err() != nil || !repeatable(err) {
			return err
		}
		pause := time.NewTimer(rand.N(longestLag)) //nolint:gosec // spreading needs no secrecy
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return err
		}
	}
}

// repeatable reports whether nothing has happened, and another try may succeed.
func repeatable(err error) bool {
	var refused *pgconn.PgError
	switch {
	case errors.Is(err, store.ErrRetry):
		return true
	case errors.As(err, &refused):
		// Serialization failure; deadlock; a connection that the server ended while it
		// was idle.
		return refused.Code == "40001" || refused.Code == "40P01" || refused.Code == "57P05"
	}
	return pgconn.SafeToRetry(err) && !errors.As(err, new(*pgconn.ConnectError))
}

// Query implements store.Engine.
func (e engine) Query(ctx context.Context, scan func(store.Row) error, query string, arguments ...any) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	var scanned error // rows that the caller has cannot be scanned again
	err := e.again(ctx, func() error {
		rows, err := e.pool.Query(ctx, numbered(query), arguments...)
		if err != nil {
			return err
		}
		some := false
		err = eachRow(rows, func(r store.Row) error { some = true; return scan(r) })
		if some && err != nil {
			scanned = err
			return nil //nolint:nilerr // it is returned below
		}
		return err
	})
	return errors.Join(err, scanned)
}

// exec runs one statement outside of a transaction, and returns how many rows changed.
func (e engine) exec(ctx context.Context, query string, arguments ...any) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	var n int64
	err := e.again(ctx, func() error {
		tag, err := e.pool.Exec(ctx, numbered(query), arguments...)
		n = tag.RowsAffected()
		return err
	})
	return n, err
}

// transaction is an open transaction.
type transaction struct {
	ctx context.Context //nolint:containedctx // that of the transaction, which ends with it
	tx  pgx.Tx
}

var _ store.Tx = transaction{}

func (t transaction) Exec(query string, arguments ...any) (int64, error) {
	tag, err := t.tx.Exec(t.ctx, numbered(query), arguments...)
	return tag.RowsAffected(), err
}

func (t transaction) Query(scan func(store.Row) error, query string, arguments ...any) error {
	rows, err := t.tx.Query(t.ctx, numbered(query), arguments...)
	if err != nil {
		return err
	}
	return eachRow(rows, scan)
}

func (t transaction) QueryLocked(scan func(store.Row) error, query string, arguments ...any) error {
	return t.Query(scan, query+" FOR UPDATE", arguments...)
}

func eachRow(rows pgx.Rows, scan func(store.Row) error) error {
	defer rows.Close() // Err tells
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// queries holds the numbered forms of queries. There are as many as the program has.
var queries sync.Map

// numbered returns a query with $1, $2 and so on for each ?.
func numbered(query string) string {
	if done, ok := queries.Load(query); ok {
		return done.(string) //nolint:errcheck,forcetypeassert // only strings are in it
	}
	var b strings.Builder
	n := 0
	for _, r := range query {
		if r != '?' {
			b.WriteRune(r)
			continue
		}
		n++
		b.WriteByte('$')
		b.WriteString(strconv.Itoa(n))
	}
	queries.Store(query, b.String())
	return b.String()
}
