package sqlstore

import (
	"context"
	"errors"
	"sync/atomic"
	"time"
)

// tables are the stores whose queries are the same in every engine: users,
// strikes and the audit trail. Queries have ? for each argument.
type tables struct {
	engine
	strikes atomic.Int64 // strikes that were settled
	unknown int          // of so many names that nobody has the strikes are not folded
}

// engine runs queries.
type engine interface {
	// write runs do in a transaction of its own, and returns when it is durable.
	// do may run more than once. An error of do leaves everything as it was.
	// When ctx ends first, write returns its error, and the change may happen or
	// not.
	write(ctx context.Context, do func(tx) error) error
	// query calls scan for each row, outside of any transaction.
	query(ctx context.Context, scan func(row) error, query string, arguments ...any) error
}

// tx is an open transaction. It is not to be kept.
type tx interface {
	// exec answers how many rows changed.
	exec(query string, arguments ...any) (int64, error)
	// query calls scan for each row.
	query(scan func(row) error, query string, arguments ...any) error
	// locked is query for rows that nobody else may change, or lock, before the
	// transaction is over.
	locked(scan func(row) error, query string, arguments ...any) error
}

// row is what drivers' rows have in common.
type row interface{ Scan(into ...any) error }

// errAgain makes write run do once more.
var errAgain = errors.New("the row that was to be locked has gone meanwhile")

// micros and moment turn times into what the tables hold, and back.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func moment(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

// number is a truth as the tables hold it: not every engine has a type for it
// that the others have.
func number(truth bool) int64 {
	if truth {
		return 1
	}
	return 0
}

// limitOr100 resolves the default of a query's limit.
func limitOr100(limit int) int {
	if limit <= 0 {
		return 100
	}
	return limit
}

// wanted answers missing where no row changed.
func wanted(n int64, err, missing error) error {
	if err == nil && n == 0 {
		return missing
	}
	return err
}
