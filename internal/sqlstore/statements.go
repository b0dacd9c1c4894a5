package sqlstore

import (
	"context"
	"database/sql"
	"sync"
	"time"
)

// statements runs queries, each prepared on first use and kept.
type statements struct {
	prepare func(ctx context.Context, query string) (*sql.Stmt, error)

	mu      sync.RWMutex
	byQuery map[string]*sql.Stmt
}

func newStatements(prepare func(context.Context, string) (*sql.Stmt, error)) *statements {
	return &statements{prepare: prepare, byQuery: map[string]*sql.Stmt{}}
}

func (s *statements) get(query string) (*sql.Stmt, error) {
	s.mu.RLock()
	stmt := s.byQuery[query]
	s.mu.RUnlock()
	if stmt != nil {
		return stmt, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if stmt := s.byQuery[query]; stmt != nil {
		return stmt, nil
	}
	// A statement outlives the call that needed it first, and so must not
	// depend on its context.
	stmt, err := s.prepare(context.Background(), query)
	if err == nil {
		s.byQuery[query] = stmt
	}
	return stmt, err
}

// exec runs a query and answers how many rows it changed.
func (s *statements) exec(ctx context.Context, query string, args ...any) (int64, error) {
	stmt, err := s.get(query)
	if err != nil {
		return 0, err
	}
	result, err := stmt.ExecContext(ctx, args...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

// one reads a single row into dest, or answers sql.ErrNoRows.
func (s *statements) one(ctx context.Context, query string, args []any, dest ...any) error {
	stmt, err := s.get(query)
	if err != nil {
		return err
	}
	return stmt.QueryRowContext(ctx, args...).Scan(dest...)
}

// scanner is a row: *sql.Rows.
type scanner interface{ Scan(dest ...any) error }

// collect reads all rows of a query.
func collect[T any](ctx context.Context, s *statements, scan func(scanner) (T, error), query string, args ...any) (list []T, err error) {
	stmt, err := s.get(query)
	if err != nil {
		return nil, err
	}
	rows, err := stmt.QueryContext(ctx, args...)
	if err != nil {
		return nil, err
	}
	defer func() {
		if closing := rows.Close(); err == nil {
			err = closing
		}
	}()
	for rows.Next() {
		item, err := scan(rows)
		if err != nil {
			return nil, err
		}
		list = append(list, item)
	}
	return list, rows.Err()
}

func (s *statements) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, stmt := range s.byQuery {
		_ = stmt.Close() // its connection is about to be closed, too
	}
	clear(s.byQuery)
}

// yearOne is 0001-01-01T00:00:00Z, the zero time, in microseconds of Unix time.
const yearOne = -62135596800 * 1_000_000

// micros returns a time as the database has it: microseconds since the zero
// time. So the zero time is 0, and no other time is.
func micros(t time.Time) int64 { return t.UnixMicro() - yearOne }

func timeOf(micros int64) time.Time { return time.UnixMicro(micros + yearOne).UTC() }

// moment scans a column into a time.
type moment struct{ to *time.Time }

// Scan implements sql.Scanner.
func (m moment) Scan(value any) error {
	n, err := integer(value)
	*m.to = timeOf(n)
	return err
}

// hash scans a BLOB column into an array, which it must fill.
type hash struct{ to []byte }

// Scan implements sql.Scanner.
func (h hash) Scan(value any) error {
	b, ok := value.([]byte)
	if !ok || len(b) != len(h.to) {
		return errDamaged
	}
	copy(h.to, b)
	return nil
}
