// Package postgres stores the state of an authority in a PostgreSQL database that any
// number of processes share.
package postgres

import (
	"context"
	"crypto/rand"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/store"
	"github.com/latchkey/latchkey/internal/store/sessionindex"
)

// Options say which database to open.
type Options struct {
	// URL is postgres://user:password@host:port/database, with the parameters of
	// libpq and of pgxpool. pool_max_conns is 20 unless it says otherwise.
	URL string
	// ListenURL leads to the same database without a connection pooler in between, for
	// the connection that notifications come over. "": URL does.
	ListenURL string
	// CacheSessions keeps the sessions that are checked in memory, as long as the
	// database notifies this process of those that end. A process that checks a few
	// sessions, or none, does not need it.
	CacheSessions bool
	// IdleTimeout is that of sessions. A twentieth of it, and a minute at most, is
	// how far ahead of a session's last use the table is written, and so how much
	// longer than the idle timeout a session may live that is used more often.
	IdleTimeout time.Duration
	// Now is this machine's clock; nil: time.Now. It only has to run steadily: what
	// time it is says the database.
	Now func() time.Time
	Log *slog.Logger // nil: slog.Default()

	bootClock func() time.Duration // of tests; nil: bootTime
}

// DB is an open database that any number of processes share, each of which
// may end at any moment. What decides is in the database: API clients
// (postgresclients.go) and sessions (sessioncache.go) are kept in memory for as long
// as they are proven to be the same there. It works behind a connection pooler that
// gives each transaction another connection, but for the cache of sessions. It is safe
// for concurrent use.
type DB struct {
	*store.Tables

	engine  engine
	pool    *pgxpool.Pool
	name    string   // of the database, without secrets
	holder  [16]byte // this process, among the replicas
	ahead   time.Duration
	clock   *serverClock
	clients *clientCache
	cache   *sessionCache
	lookups batcher[authority.SessionKey, found]
	slides  batcher[sessionindex.LastUse, bool]
	ends    batcher[ending, ended]
	trail   batcher[[]authority.Event, error]
	log     *slog.Logger
	end     context.CancelFunc
	tasks   sync.WaitGroup
}

var (
	_ authority.UserStore    = (*DB)(nil)
	_ authority.StrikeStore  = (*DB)(nil)
	_ authority.ClientStore  = (*DB)(nil)
	_ authority.SessionStore = (*DB)(nil)
	_ authority.SessionLog   = (*DB)(nil)
	_ authority.AuditStore   = (*DB)(nil)
	_ authority.LeaderLock   = (*DB)(nil)
)

const (
	maxConnections = 20
	connectTimeout = 5 * time.Second
	migrateTimeout = 2 * time.Minute
	// Reads and writes that the database does not answer in time count as not
	// answered. A caller who is still there is told to come back.
	readTimeout  = 5 * time.Second
	writeTimeout = 10 * time.Second
	// maxAhead bounds how far ahead a last use is written; aheadOfIdle is its part
	// of the idle timeout.
	maxAhead     = time.Minute
	aheadOfIdle  = 20
	lookupBatch  = 256
	lookupConns  = 3
	slideConns   = 2
	lastUseBatch = 500
	endBatch     = 100
	endConns     = 2
	trailBatch   = 100
)

// IsURL reports whether text names a database for Open.
func IsURL(text string) bool {
	return strings.HasPrefix(text, "postgres://") || strings.HasPrefix(text, "postgresql://")
}

// Open connects to a database and brings its schema up to date, which one
// process does at a time. Processes of the version before may go on using it.
func Open(ctx context.Context, options Options) (*DB, error) {
	db := &DB{log: options.Log, name: RedactURL(options.URL)}
	if db.log == nil {
		db.log = slog.Default()
	}
	if options.IdleTimeout <= 0 {
		options.IdleTimeout = 20 * time.Minute
	}
	_, _ = rand.Read(db.holder[:])
	db.ahead = min(maxAhead, options.IdleTimeout/aheadOfIdle)
	db.clock = newServerClock(options.Now)
	db.clients, db.cache = &clientCache{}, newSessionCache(options.bootClock, db.ahead)
	config, err := db.connect(ctx, options.URL)
	var listener *listener
	if err == nil && options.CacheSessions {
		listener, err = db.newListener(ctx, config, options.ListenURL)
	}
	if err != nil {
		db.release()
		return nil, err
	}
	ctx, db.end = context.WithCancel(context.Background())
	db.tasks.Go(func() { db.clock.follow(ctx, db.askTime) })
	db.lookups = batcher[authority.SessionKey, found]{limit: lookupBatch, timeout: readTimeout, run: db.findSessions}
	db.lookups.start(lookupConns)
	db.slides = batcher[sessionindex.LastUse, bool]{limit: lastUseBatch, timeout: writeTimeout, run: db.writeLastUses}
	db.slides.start(slideConns)
	db.trail = batcher[[]authority.Event, error]{limit: trailBatch, timeout: writeTimeout, run: db.appendGathered}
	db.trail.start(1)
	db.ends = batcher[ending, ended]{limit: endBatch, timeout: writeTimeout, run: db.endSessions}
	db.ends.start(endConns)
	if listener != nil {
		db.tasks.Go(func() { listener.run(ctx) })
	}
	return db, nil
}

// connect opens the database, and returns how it is reached.
func (db *DB) connect(ctx context.Context, address string) (*pgxpool.Config, error) {
	config, err := pgxpool.ParseConfig(address)
	if err != nil {
		return nil, fmt.Errorf("the database URL cannot be read: %s; write it like postgres://latchkey@db.example:5432/latchkey", plainly(err))
	}
	if !strings.Contains(address, "pool_max_conns") {
		config.MaxConns = maxConnections
	}
	if config.ConnConfig.ConnectTimeout == 0 {
		config.ConnConfig.ConnectTimeout = connectTimeout
	}
	if !strings.Contains(address, "default_query_exec_mode") {
		// A pooler between transactions does not keep prepared statements. Sessions
		// are looked up many at a time, so that parsing costs little.
		config.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeExec
	}
	if config.ConnConfig.RuntimeParams["application_name"] == "" {
		config.ConnConfig.RuntimeParams["application_name"] = "latchkey"
	}
	if config.ConnConfig.ValidateConnect == nil {
		// A standby is behind: sessions that have ended are still there. And a
		// connection from a time when the database took no writes stays so.
		config.ConnConfig.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	}
	if db.pool, err = pgxpool.NewWithConfig(ctx, config); err != nil {
		return nil, db.cannot("reached", err)
	}
	db.engine = engine{db.pool}
	db.Tables = store.NewTables(db.engine)
	if err := db.Ready(ctx); err != nil {
		return nil, db.cannot("reached", err)
	}
	if err := db.migrate(ctx); err != nil {
		return nil, err
	}
	if err := db.clock.sync(ctx, db.askTime); err != nil {
		return nil, db.cannot("asked for the time", err)
	}
	if err := db.refreshClients(ctx); err != nil {
		return nil, db.cannot("read", err)
	}
	return config, nil
}

//go:embed migrations/*.sql
var migrations embed.FS

// migrate makes the schema what this version knows, under a lock in a table: a
// lock of the session would not survive a pooler.
func (db *DB) migrate(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, migrateTimeout)
	defer cancel()
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	locker, err := lock.NewPostgresTableLocker(
		lock.WithTableName("schema_lock"), lock.WithTableLockTimeout(250*time.Millisecond, 400), lock.WithTableLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		return err
	}
	conn := stdlib.OpenDBFromPool(db.pool)
	defer func() { _ = conn.Close() }() // the pool stays
	provider, err := goose.NewProvider(goose.DialectPostgres, conn, files,
		goose.WithLogger(goose.NopLogger()), goose.WithTableName("schema_version"), goose.WithLocker(locker))
	if err != nil {
		return db.cannot("opened", err)
	}
	have, want, err := provider.GetVersions(ctx)
	if err != nil {
		return db.cannot("opened", err)
	}
	if err := store.CheckSchema(db.name, have, want); err != nil || have == want {
		return err
	}
	if _, err := provider.Up(ctx); err != nil {
		return db.cannot("brought up to date", err)
	}
	return nil
}

// cannot says what could not be done to the database. Nothing was changed.
func (db *DB) cannot(what string, err error) error {
	return fmt.Errorf("the database %s could not be %s: %s; check that it is there, and that this user may use it", db.name, what, plainly(err))
}

// plainly is an error of the driver on one line, and without the password.
func plainly(err error) string {
	var refused *pgconn.PgError
	var network *net.OpError
	var name *net.DNSError
	switch {
	case errors.As(err, &refused):
		return refused.Message
	case errors.As(err, &name): // the driver tells each several times
		return name.Error()
	case errors.As(err, &network):
		return network.Error()
	}
	return strings.Join(strings.Fields(err.Error()), " ")
}

// Pool is what the database is reached by. It ends with Close.
func (db *DB) Pool() *pgxpool.Pool { return db.pool }

// Stores returns the database as the stores of an authority.
func (db *DB) Stores() authority.Stores {
	return authority.Stores{Users: db, Strikes: db, Clients: db, Sessions: db, SessionLog: db, Audit: db, Leader: db}
}

// Ready tells whether the database answers.
func (db *DB) Ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	return db.pool.Ping(ctx)
}

// Close gives the connections back. Nothing waits to be written.
func (db *DB) Close(context.Context) error {
	db.end()
	db.lookups.stop()
	db.slides.stop()
	db.ends.stop()
	db.trail.stop()
	db.tasks.Wait()
	db.release()
	return nil
}

func (db *DB) release() {
	if db.pool != nil {
		db.pool.Close()
	}
}
