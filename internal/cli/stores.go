package cli

import (
	"context"
	"crypto/rand"
	"errors"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/sqlstore"
)

// openStores is where a service keeps what it knows.
type openStores struct {
	authority.Stores
	now      func() time.Time
	ready    func(context.Context) error
	close    func(context.Context) error
	postgres *sqlstore.Postgres // nil for the embedded database
	metrics  []prometheus.Collector
}

// shared reports whether the database is one that replicas share.
func (s *storeFlags) shared() bool { return sqlstore.IsPostgresURL(s.database) }

// checkStores answers what is wrong with the names of the stores.
func (s *storeFlags) checkStores(source func(string) string, wrong *faults) {
	path, embedded := strings.CutPrefix(s.database, databaseScheme)
	switch {
	case s.database == "", embedded && path != "":
	case !s.shared():
		wrong.add("%s %q is no database that this version knows; write it like sqlite:/var/lib/latchkey/latchkey.db, or postgres://latchkey@db.example:5432/latchkey", source("database"), withoutPassword(s.database))
	default:
		checkNoPassword("database", s.database, source, wrong)
	}
	switch {
	case s.listenAt == "":
	case !sqlstore.IsPostgresURL(s.listenAt):
		wrong.add("%s is not the URL of a PostgreSQL database; write it like postgres://latchkey@db.example:5432/latchkey", source("database-listen"))
	case !s.shared():
		wrong.add("%s has no use without a postgres:// database: the embedded one has one process, and no notifications", source("database-listen"))
	default:
		checkNoPassword("database-listen", s.listenAt, source, wrong)
	}
}

// checkNoPassword refuses a password where every user of the machine sees it.
func checkNoPassword(name, address string, source func(string) string, wrong *faults) {
	parsed, err := url.Parse(address)
	if from := source(name); err == nil && from == "--"+name {
		if _, set := parsed.User.Password(); set || parsed.Query().Has("password") {
			wrong.add("%s has a password in it, which everybody on this machine can see in the list of processes; put the URL in %s or in the config file", from, variable(name))
		}
	}
}

// withoutPassword is a URL as it may be shown.
func withoutPassword(address string) string {
	if parsed, err := url.Parse(address); err == nil && parsed.User != nil {
		return parsed.Redacted()
	}
	return address
}

// bareAddress is where a URL leads, and nothing else that is in it.
func bareAddress(address string) string {
	parsed, err := url.Parse(address)
	if err != nil {
		return "…"
	}
	return parsed.Scheme + "://" + parsed.Host + parsed.Path
}

// openEmbedded opens the embedded database.
func (s *storeFlags) openEmbedded(ctx context.Context, now func() time.Time, log *slog.Logger) (*openStores, error) {
	db, err := sqlstore.Open(ctx, sqlstore.Options{
		Path:       s.databasePath(),
		SlideAhead: min(maxSlideAhead, s.policy.IdleTimeout/slidesInOneIdle),
		Log:        log,
	})
	if err != nil {
		return nil, fail(exitFailed, "%w; nothing was changed", err)
	}
	return &openStores{Stores: db.Stores(), now: now, ready: db.Ready, close: func(ctx context.Context) error {
		if err := db.Close(ctx); err != nil {
			return fail(exitFailed, "the database could not be closed in good order: %w; accounts, locks and ended sessions are safe, live sessions may seem used a few minutes later than they were", err)
		}
		return nil
	}}, nil
}

// openShared opens a database that replicas share. A service caches sessions; a
// command does not.
func (s *storeFlags) openShared(ctx context.Context, serves bool, now func() time.Time, log *slog.Logger) (*openStores, error) {
	db, err := sqlstore.OpenPostgres(ctx, sqlstore.PostgresOptions{
		URL: s.database, ListenURL: s.listenAt, CacheSessions: serves, IdleTimeout: s.policy.IdleTimeout, Now: now, Log: log,
	})
	if err != nil {
		return nil, fail(exitFailed, "%w; nothing was done", err)
	}
	return &openStores{Stores: db.Stores(), now: db.Now, ready: db.Ready, close: db.Close, postgres: db, metrics: []prometheus.Collector{db}}, nil
}

// agreeOnKey refuses a server key that is not that of the other replicas.
func (s *openStores) agreeOnKey(ctx context.Context, key []byte) error {
	err := s.postgres.AgreeOnKey(ctx, key)
	if errors.Is(err, sqlstore.ErrOtherKey) {
		return fail(exitFailed, "%w, so tokens of one would be refused by the other; nothing was started; give every replica the same file with --key-file", err)
	}
	if err != nil {
		return fail(exitFailed, "%w; nothing was started", err)
	}
	return nil
}

// administer opens stores that replicas share for one command. It needs neither the
// data directory nor the server key: no access token is looked at.
func (s *storeFlags) administer(ctx context.Context, now func() time.Time, log *slog.Logger) (*service, error) {
	if !s.shared() {
		return s.open(ctx, authority.Config{}, now, log)
	}
	key := make([]byte, keyBytes)
	_, _ = rand.Read(key) // it cannot fail; it ends the program instead
	stores, err := s.openShared(ctx, false, now, log)
	if err != nil {
		return nil, err
	}
	return s.govern(stores, key, authority.Config{}, log, nil)
}

// exists reports whether there is a database to administer.
func (s *storeFlags) exists() bool {
	if s.shared() {
		return true // opening it tells
	}
	_, err := os.Stat(s.databasePath())
	return !errors.Is(err, fs.ErrNotExist)
}

func (s *storeFlags) databasePath() string {
	if s.database != "" {
		return strings.TrimPrefix(s.database, databaseScheme)
	}
	return filepath.Join(s.data, databaseFile)
}
