// Package sqlite stores the state of an authority in an embedded SQLite database: one
// file for one server process, or none for a database in memory.
//
// One goroutine makes every change, and commits together, durably, what waits together
// (writer.go). A session check never queries the database: this process alone owns it, so
// that an index of the live sessions in memory is complete (sessions.go).
package sqlite

import (
	"context"
	"crypto/rand"
	"database/sql"
	"embed"
	"encoding/hex"
	"errors"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gofrs/flock"
	"github.com/pressly/goose/v3"
	_ "modernc.org/sqlite" // the driver

	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/store"
	"github.com/latchkey/latchkey/internal/store/sessionindex"
)

// ErrInUse is returned by Open.
var ErrInUse = errors.New("in use by another latchkey server")

// Options select the database to open.
type Options struct {
	// Path is the file; it is created, readable by its owner only. "": the database is in
	// memory, until Close.
	Path string
	// SlideAhead is how far ahead of a session's last use the file is written, and so how
	// much longer than the idle timeout a session may live after a crash. Default 5
	// minutes.
	SlideAhead time.Duration
	Log        *slog.Logger // nil: slog.Default()
}

// DB is an open database. It is safe for concurrent use.
type DB struct {
	*store.Tables

	path     string
	lock     *flock.Flock // nil in memory
	writes   *sql.DB
	reads    *sql.DB
	writer   *writer
	state    *writeState
	sessions *sessionindex.Index // every live session, once loaded is closed
	loaded   chan struct{}
	uses     *useLog
	saidUses reminder
	clients  atomic.Pointer[map[authority.ClientID]authority.Client]
	ahead    time.Duration
	log      *slog.Logger
	stop     context.CancelFunc
	tasks    sync.WaitGroup
}

// maxReaders bounds the connections that read.
const maxReaders = 4

//go:embed migrations/*.sql
var migrations embed.FS

// Open opens or creates a database, migrates its schema, and locks it: no other process can
// open it until Close. It is ready at once; the index of sessions is filled in the
// background.
func Open(ctx context.Context, options Options) (*DB, error) {
	db := &DB{path: options.Path, ahead: options.SlideAhead, log: options.Log, loaded: make(chan struct{})}
	db.Tables = store.NewTables(engine{db})
	if db.ahead <= 0 {
		db.ahead = 5 * time.Minute
	}
	if db.log == nil {
		db.log = slog.Default()
	}
	db.sessions = sessionindex.New(db.ahead)
	db.state = &writeState{log: db.log}
	if err := db.open(ctx); err != nil {
		db.release()
		return nil, err
	}
	ctx, db.stop = context.WithCancel(context.Background())
	db.tasks.Go(func() { db.loadSessions(ctx) })
	db.tasks.Go(func() { db.flushLastUses(ctx) })
	db.tasks.Go(func() { db.probeWrites(ctx) })
	return db, nil
}

func (db *DB) open(ctx context.Context) error {
	source, err := db.source()
	if err != nil {
		return err
	}
	if db.writes, err = sql.Open("sqlite", source+"&_txlock=immediate"); err != nil {
		return db.cannot("open", err)
	}
	db.writes.SetMaxOpenConns(1)
	if err := db.migrate(ctx); err != nil {
		return err
	}
	if db.reads, err = sql.Open("sqlite", source+"&_pragma=query_only(1)"); err != nil {
		return db.cannot("open", err)
	}
	db.reads.SetMaxOpenConns(maxReaders)
	db.reads.SetMaxIdleConns(maxReaders)
	conn, err := db.writes.Conn(context.WithoutCancel(ctx))
	if err != nil {
		return db.cannot("open", err)
	}
	db.writer = startWriter(conn, db.state)
	// Attempts of a process that died are forgotten: no caller learned their result, since
	// a failure is stored before that.
	if err := db.write(ctx, func(t store.Tx) error {
		_, err := t.Exec(`UPDATE strikes SET reservations = x'' WHERE reservations <> x''`)
		return err
	}); err != nil {
		return db.cannot("write", err)
	}
	if err := db.recoverUses(ctx); err != nil {
		return db.cannot("write", err)
	}
	return db.loadClients(ctx)
}

// source takes the lock and returns the data source name for the driver.
func (db *DB) source() (string, error) {
	// Nothing is written outside the directory of the database, which may be the only one
	// that is writable: SQLite's temporary files stay in memory.
	pragmas := "_pragma=busy_timeout(10000)&_pragma=foreign_keys(1)&_pragma=temp_store(memory)"
	if db.path == "" {
		name := make([]byte, 16)
		_, _ = rand.Read(name)
		return "file:/" + hex.EncodeToString(name) + "?vfs=memdb&" + pragmas, nil
	}
	path, err := filepath.Abs(db.path)
	if err != nil {
		return "", db.cannot("open", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", db.cannot("open", err)
	}
	db.lock = flock.New(path+".lock", flock.SetPermissions(0o600))
	if locked, err := db.lock.TryLock(); err != nil {
		return "", db.cannot("lock", err)
	} else if !locked {
		db.lock = nil
		return "", &store.OpenError{Action: "open", Database: db.path, Err: ErrInUse,
			Advice: "stop that server first, or use another data directory"}
	}
	// The driver would create a file that others can read.
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) //nolint:gosec // the operator's own path
	if err != nil {
		return "", db.cannot("open", err)
	}
	if err := file.Close(); err != nil {
		return "", db.cannot("open", err)
	}
	address := url.URL{Scheme: "file", Opaque: (&url.URL{Path: filepath.ToSlash(path)}).EscapedPath()}
	return address.String() + "?" + pragmas + "&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)", nil
}

func (db *DB) migrate(ctx context.Context) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	provider, err := goose.NewProvider(goose.DialectSQLite3, db.writes, files, goose.WithLogger(goose.NopLogger()))
	if err != nil {
		return db.cannot("open", err)
	}
	have, want, err := provider.GetVersions(ctx)
	if err != nil {
		return db.cannot("open", err)
	}
	if err := store.CheckSchema(db.path, have, want); err != nil {
		return err
	}
	if _, err := provider.Up(ctx); err != nil {
		return db.cannot("migrate", err)
	}
	return nil
}

// cannot returns an error of opening the database. Nothing was changed.
func (db *DB) cannot(what string, err error) error {
	return &store.OpenError{Action: what, Database: db.path, Err: plain(err),
		Advice: "check that it is a latchkey database that this user may read and write"}
}

// Stores returns the database as the stores of an authority.
func (db *DB) Stores() authority.Stores {
	return authority.Stores{Users: db, Strikes: db, Clients: db, Sessions: db, SessionLog: db, Audit: db}
}

var (
	_ authority.UserStore    = (*DB)(nil)
	_ authority.StrikeStore  = (*DB)(nil)
	_ authority.ClientStore  = (*DB)(nil)
	_ authority.SessionStore = (*DB)(nil)
	_ authority.SessionLog   = (*DB)(nil)
	_ authority.AuditStore   = (*DB)(nil)
)

// Ready returns an error if the database does not respond.
func (db *DB) Ready(ctx context.Context) error { return db.reads.PingContext(ctx) }

// Close writes the pending last uses and closes the database. If ctx ends first, some
// sessions may later seem to have been used a few minutes later than they were; nothing else
// is lost.
func (db *DB) Close(ctx context.Context) error {
	db.stop()
	db.tasks.Wait()
	err := db.settleLastUses(ctx)
	if err == nil && ctx.Err() == nil {
		err = db.uses.empty()
	}
	db.release()
	return err
}

func (db *DB) release() {
	if db.writer != nil {
		db.writer.stop()
		for _, s := range db.writer.stmts {
			_ = s.Close() // nothing depends on it
		}
		_ = db.writer.conn.Close() // all is committed
	}
	if db.uses != nil {
		_ = db.uses.close() // it is read at the next start
	}
	for _, pool := range []*sql.DB{db.reads, db.writes} {
		if pool != nil {
			_ = pool.Close() // all is committed
		}
	}
	if db.lock != nil {
		_ = db.lock.Unlock() // the lock dies with the process at the latest
	}
}

// Reader returns a pool of connections that can only read.
func (db *DB) Reader() *sql.DB { return db.reads }

// engine implements store.Engine.
type engine struct{ db *DB }

// Write implements store.Engine.
func (e engine) Write(ctx context.Context, change func(store.Tx) error) error {
	return e.db.write(ctx, change)
}

// Query implements store.Engine.
func (e engine) Query(ctx context.Context, scan func(store.Row) error, query string, arguments ...any) error {
	return e.db.query(ctx, scan, query, arguments...)
}

// write runs a change.
func (db *DB) write(ctx context.Context, do func(store.Tx) error) error {
	return db.writer.write(ctx, do, nil)
}

// query reads rows outside the writer.
func (db *DB) query(ctx context.Context, scan func(store.Row) error, query string, arguments ...any) error {
	rows, err := db.reads.QueryContext(ctx, query, arguments...)
	if err != nil {
		return err
	}
	return each(rows, scan)
}
