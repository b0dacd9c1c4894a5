// Package store holds what the SQL engines share: the queries for users, strikes, API
// clients, sessions and the audit trail that every engine runs unchanged.
//
// An engine is a package of its own: store/sqlite is embedded, one file for one server
// process; store/postgres is shared by any number of processes. Engines do not import each
// other. Each one embeds a Tables, which runs on the Engine that the package provides, and
// adds what differs: how sessions are checked, how clients are cached, and how changes are
// committed. Both keep live sessions in memory in a store/sessionindex.Index.
package store

import (
	"context"
	"errors"
	"time"
)

// ErrRetry makes Engine.Write run the change again.
var ErrRetry = errors.New("a row that was to be locked was removed")

// Engine runs queries. Queries have a ? for each argument.
type Engine interface {
	// Write runs change in a transaction of its own, and returns when it is durable.
	// change may run more than once. If it returns an error, the database is as it was.
	// When ctx ends first, Write returns its error, and the change may happen or not.
	Write(ctx context.Context, change func(Tx) error) error
	// Query calls scan for each row, outside of any transaction.
	Query(ctx context.Context, scan func(Row) error, query string, arguments ...any) error
}

// Tx is an open transaction. It must not be kept.
type Tx interface {
	// Exec returns how many rows changed.
	Exec(query string, arguments ...any) (int64, error)
	// Query calls scan for each row.
	Query(scan func(Row) error, query string, arguments ...any) error
	// QueryLocked is Query, and locks the rows until the transaction ends.
	QueryLocked(scan func(Row) error, query string, arguments ...any) error
}

// Row is a row of a result.
type Row interface{ Scan(into ...any) error }

// Tables implements the stores whose queries are the same in every engine:
// authority.UserStore, authority.StrikeStore and authority.AuditStore. It is safe for
// concurrent use if the engine is.
type Tables struct{ engine Engine }

// NewTables returns the tables of an engine.
func NewTables(engine Engine) *Tables { return &Tables{engine} }

// Micros converts a time to its column value, the microseconds since 1970, and 0 for the
// zero time.
func Micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// Moment converts a column value to its time in UTC.
func Moment(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

// boolToInt converts a bool to its column value: not every engine has the same type for it.
func boolToInt(b bool) int64 {
	if b {
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

// RequireChange returns missing if a statement changed no row, and otherwise err.
func RequireChange(rows int64, err, missing error) error {
	if err == nil && rows == 0 {
		return missing
	}
	return err
}
