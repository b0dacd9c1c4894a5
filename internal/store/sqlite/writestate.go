package sqlite

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/latchkey/latchkey/internal/store"
)

// plain returns an error of the disk with a text that people understand.
func plain(err error) error {
	switch code(err) {
	case sqlite3.SQLITE_FULL:
		return fmt.Errorf("the disk is full: free space: %w", err)
	case sqlite3.SQLITE_IOERR:
		return fmt.Errorf("the disk cannot be read or written: %w", err)
	}
	return err
}

// isFault reports whether err is a fault of SQLite or the disk, and not a constraint.
func isFault(err error) bool {
	got := code(err)
	return got != sqlite3.SQLITE_OK && got != sqlite3.SQLITE_CONSTRAINT
}

// code returns the primary result code of an error of SQLite, or SQLITE_OK.
func code(err error) int {
	var failure *sqlite.Error
	if !errors.As(err, &failure) {
		return sqlite3.SQLITE_OK
	}
	return failure.Code() & 0xff
}

const (
	// probeEvery is how often a database that could not be written is tried again.
	probeEvery = time.Second
	// remindEvery is how often the log repeats that it cannot be written.
	remindEvery = time.Minute
)

// writeState is whether the last write failed. It is safe for concurrent
// use.
type writeState struct {
	log *slog.Logger

	mu    sync.Mutex
	err   error // nil if the last write succeeded
	since time.Time
	said  reminder
}

// note records the outcome of a write.
func (s *writeState) note(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	switch {
	case err == nil && s.err != nil:
		s.log.Info("the database can be written again", "after", now.Sub(s.since).Round(time.Second))
		s.said.reset()
	case err != nil && s.err == nil:
		s.since = now
	}
	if s.err = err; err != nil && s.said.due(now) {
		s.log.Error("the database cannot be written; changes are refused until it can, and session checks go on",
			"since", s.since.UTC().Format(time.RFC3339), "error", err)
	}
}

func (s *writeState) failing() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// reminder bounds how often a message is logged.
type reminder struct {
	mu   sync.Mutex
	last time.Time
}

func (r *reminder) due(now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.last.IsZero() && now.Sub(r.last) < remindEvery {
		return false
	}
	r.last = now
	return true
}

func (r *reminder) reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last = time.Time{}
}

// WriteFailure returns why the database cannot be written at this moment, or nil.
func (db *DB) WriteFailure() error { return db.state.failing() }

// probeWrites writes to a database whose last write failed, every second, so that its recovery
// is noticed.
func (db *DB) probeWrites(ctx context.Context) {
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if db.state.failing() != nil {
			_ = db.write(ctx, func(t store.Tx) error { // the writer notes the outcome
				_, err := t.Exec(`UPDATE audit_head SET seq = seq WHERE id = 1`)
				return err
			})
		}
	}
}
