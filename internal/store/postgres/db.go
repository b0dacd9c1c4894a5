// Package postgres stores the state of an authority in a PostgreSQL database that any
// number of processes share.
package postgres

import (
	"context"
	"crypto/rand"
	"embed"
	"errors"
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

// Options select the database to open.
type Options struct {
	// URL is postgres://user:password@host:port/database, with the parameters of libpq
	// and of pgxpool. The default of pool_max_conns is 20.
	URL string
	// ListenURL is a URL of the same database without a connection pooler in between, for
	// the connection that receives notifications. "": URL is.
	ListenURL string
	// CacheSessions caches checked sessions in memory, as long as the database notifies
	// this process of those that end. A process that checks few sessions does not need it.
	CacheSessions bool
	// IdleTimeout is that of sessions. A twentieth of it, and a minute at most, is how far
	// ahead of a session's last use the table is written, and so how much longer than the
	// idle timeout a session may live that is used often.
	IdleTimeout time.Duration
	// Now is this machine's clock; nil: time.Now. It need only run steadily: the time is
	// the database's.
	Now func() time.Time
	Log *slog.Logger // nil: slog.Default()

	bootClock func() time.Duration // of tests; nil: bootTime
}

// DB is an open database that any number of processes share, each of which
// may end at any moment. The database decides: API clients (clients.go) and sessions
// (sessioncache.go) are cached only as long as they are proven to be the same there. It works
// behind a connection pooler in transaction mode, except for the cache of sessions. It is
// safe for concurrent use.
type DB struct {
	*store.Tables

	engine   engine
	pool     *pgxpool.Pool
	name     string   // of the database, without secrets
	holder   [16]byte // this process, among the replicas
	ahead    time.Duration
	clock    *serverClock
	clients  *clientCache
	cache    *sessionCache
	lookups  batcher[authority.SessionKey, found]
	lastUses batcher[sessionindex.LastUse, bool]
	ends     batcher[ending, ended]
	trail    batcher[[]authority.Event, error]
	log      *slog.Logger
	end      context.CancelFunc
	tasks    sync.WaitGroup
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
	// Reads and writes fail if the database does not respond in time.
	readTimeout  = 5 * time.Second
	writeTimeout = 10 * time.Second
	// maxAhead bounds how far ahead a last use is written; aheadOfIdle is its part
	// of the idle timeout.
	maxAhead     = time.Minute
	aheadOfIdle  = 20
	lookupBatch  = 256
	lookupConns  = 3
	lastUseConns = 2
	lastUseBatch = 500
	endBatch     = 100
	endConns     = 2
	trailBatch   = 100
)

// IsURL reports whether text names a database for Open.
func IsURL(text string) bool {
	return strings.HasPrefix(text, "postgres://") || strings.HasPrefix(text, "postgresql://")
}

// Open connects to a database and migrates its schema, which one process does at a time.
// Processes of the previous version may continue to use it.
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
	db.lastUses = batcher[sessionindex.LastUse, bool]{limit: lastUseBatch, timeout: writeTimeout, run: db.writeLastUses}
	db.lastUses.start(lastUseConns)
	db.trail = batcher[[]authority.Event, error]{limit: trailBatch, timeout: writeTimeout, run: db.appendBatch}
	db.trail.start(1)
	db.ends = batcher[ending, ended]{limit: endBatch, timeout: writeTimeout, run: db.endSessions}
	db.ends.start(endConns)
	if listener != nil {
		db.tasks.Go(func() { listener.run(ctx) })
	}
	return db, nil
}

// connect opens the database, and returns the configuration of its connections.
func (db *DB) connect(ctx context.Context, address string) (*pgxpool.Config, error) {
	config, err := pgxpool.ParseConfig(address)
	if err != nil {
		return nil, &store.OpenError{
			Action: "parse URL of", Database: db.name, Err: errors.New(plainly(err)), Advice: urlAdvice,
		}
	}
	if !strings.Contains(address, "pool_max_conns") {
		config.MaxConns = maxConnections
	}
	if config.ConnConfig.ConnectTimeout == 0 {
		config.ConnConfig.ConnectTimeout = connectTimeout
	}
	if !strings.Contains(address, "default_query_exec_mode") {
		// A pooler in transaction mode does not keep prepared statements. Many sessions
		// are looked up at a time, so that parsing costs little.
		config.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeExec
	}
	if config.ConnConfig.RuntimeParams["application_name"] == "" {
		config.ConnConfig.RuntimeParams["application_name"] = "latchkey"
	}
	if config.ConnConfig.ValidateConnect == nil {
		// A standby is behind: sessions that have ended are still there. And a connection
		// that was opened while the database accepted no writes stays read-only.
		config.ConnConfig.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	}
	if db.pool, err = pgxpool.NewWithConfig(ctx, config); err != nil {
		return nil, db.cannot("connect to", err)
	}
	db.engine = engine{db.pool}
	db.Tables = store.NewTables(db.engine)
	if err := db.Ready(ctx); err != nil {
		return nil, db.cannot("connect to", err)
	}
	if err := db.migrate(ctx); err != nil {
		return nil, err
	}
	if err := db.clock.sync(ctx, db.askTime); err != nil {
		return nil, db.cannot("get the time of", err)
	}
	if err := db.refreshClients(ctx); err != nil {
		return nil, db.cannot("read", err)
	}
	return config, nil
}

//go:embed migrations/*.sql
var migrations embed.FS

// migrate brings the schema up to date, under a lock in a table: a lock of the session would
// not survive a pooler.
func (db *DB) migrate(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, migrateTimeout)
	defer cancel()
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	locker, err := lock.NewPostgresTableLocker(
		lock.WithTableName("schema_lock"),
		lock.WithTableLockTimeout(250*time.Millisecond, 400),
		lock.WithTableLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		return err
	}
	conn := stdlib.OpenDBFromPool(db.pool)
	defer func() { _ = conn.Close() }() // the pool stays
	provider, err := goose.NewProvider(goose.DialectPostgres, conn, files,
		goose.WithLogger(goose.NopLogger()), goose.WithTableName("schema_version"), goose.WithLocker(locker))
	if err != nil {
		return db.cannot("open", err)
	}
	have, want, err := provider.GetVersions(ctx)
	if err != nil {
		return db.cannot("open", err)
	}
	if err := store.CheckSchema(db.name, have, want); err != nil || have == want {
		return err
	}
	if _, err := provider.Up(ctx); err != nil {
		return db.cannot("migrate", err)
	}
	return nil
}

// cannot returns an error of opening the database. Nothing was changed.
func (db *DB) cannot(what string, err error) error {
	return &store.OpenError{Action: what, Database: db.name, Err: errors.New(plainly(err)),
		Advice: "check that it exists, and that this user may use it"}
}

// urlAdvice is the advice for a URL that cannot be parsed.
const urlAdvice = "write the URL like postgres://latchkey@db.example:5432/latchkey"

// plainly returns the text of an error of the driver, on one line and without the password.
func plainly(err error) string {
	var refused *pgconn.PgError
	var network *net.OpError
	var name *net.DNSError
	switch {
	case errors.As(err, &refused):
		return refused.Message
	case errors.As(err, &name): // the driver repeats it for each address
		return name.Error()
	case errors.As(err, &network):
		return network.Error()
	}
	return strings.Join(strings.Fields(err.Error()), " ")
}

// Pool returns the pool of connections, which Close closes.
func (db *DB) Pool() *pgxpool.Pool { return db.pool }

// Stores returns the database as the stores of an authority.
func (db *DB) Stores() authority.Stores {
	return authority.Stores{Users: db, Strikes: db, Clients: db, Sessions: db, SessionLog: db, Audit: db, Leader: db}
}

// Ready returns an error if the database does not respond.
func (db *DB) Ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	return db.pool.Ping(ctx)
}

// Close closes the connections. No data is lost.
func (db *DB) Close(context.Context) error {
	db.end()
	db.lookups.stop()
	db.lastUses.stop()
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
