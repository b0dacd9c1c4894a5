package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/latchkey/latchkey/internal/admin"
	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/store/postgres"
	"github.com/latchkey/latchkey/internal/store/sqlite"
)

// openStores is where a service keeps what it knows.
type openStores struct {
	authority.Stores
	now      func() time.Time
	ready    func(context.Context) error
	writes   func() error // as server.Config.WriteFailure
	close    func(context.Context) error
	postgres *postgres.DB // nil for the embedded database
	metrics  []prometheus.Collector
	name     admin.Store
}

// shared reports whether the database is one that replicas share.
func (s *storeFlags) shared() bool { return postgres.IsURL(s.database) }

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
	case !postgres.IsURL(s.listenAt):
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

// withoutPassword is what should be a URL, as it may be shown: without the part that
// holds a user and a password, and without parameters.
func withoutPassword(address string) string {
	address, _, _ = strings.Cut(address, "?")
	at := strings.LastIndexByte(address, '@')
	if at < 0 {
		return address
	}
	scheme, _, ok := strings.Cut(address[:at], "//")
	if !ok {
		scheme = ""
	} else {
		scheme += "//"
	}
	return scheme + "…" + address[at:]
}

// name is the database that was named, as people are told it.
func (s *storeFlags) name() string {
	if s.shared() {
		return postgres.RedactURL(s.database)
	}
	return databaseScheme + resolved(s.databasePath())
}

// isNamed reports whether the database that a server has is the one that was named.
// The server's own is, whatever it is, if only the data directory was.
func (s *storeFlags) isNamed(ctx context.Context, served admin.Store) (bool, error) {
	if s.database == "" {
		return true, nil
	}
	if s.shared() {
		if !postgres.IsURL(served.Name) {
			return false, nil
		}
		identity, err := postgres.IdentityAt(ctx, s.database)
		return identity == served.ID, err
	}
	path, embedded := strings.CutPrefix(served.Name, databaseScheme)
	if !embedded {
		return false, nil
	}
	mine, err := os.Stat(s.databasePath())
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	its, err := os.Stat(path)
	return err == nil && os.SameFile(mine, its), nil
}

// resolved is the one absolute path of a file that may not be there.
func resolved(path string) string {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return path
	}
	if path, err := filepath.EvalSymlinks(absolute); err == nil {
		return path
	}
	if directory, err := filepath.EvalSymlinks(filepath.Dir(absolute)); err == nil {
		return filepath.Join(directory, filepath.Base(absolute))
	}
	return absolute
}

// embeddedStore is the name of an embedded database that is open.
func embeddedStore(path string) admin.Store {
	name := databaseScheme + resolved(path)
	sum := sha256.Sum256([]byte(name))
	return admin.Store{Name: name, ID: hex.EncodeToString(sum[:16])}
}

// openEmbedded opens the embedded database.
func (s *storeFlags) openEmbedded(ctx context.Context, now func() time.Time, log *slog.Logger) (*openStores, error) {
	db, err := sqlite.Open(ctx, sqlite.Options{
		Path:       s.databasePath(),
		SlideAhead: min(maxSlideAhead, s.policy.IdleTimeout/slidesInOneIdle),
		Log:        log,
	})
	if err != nil {
		return nil, fail(exitFailed, "%w; nothing was changed", err)
	}
	name := embeddedStore(s.databasePath())
	return &openStores{Stores: db.Stores(), now: now, ready: db.Ready, writes: db.WriteFailure, name: name, close: func(ctx context.Context) error {
		if err := db.Close(ctx); err != nil {
			return fail(exitFailed, "the database could not be closed in good order: %w; accounts, locks and ended sessions are safe, live sessions may seem used a few minutes later than they were", err)
		}
		return nil
	}}, nil
}

// openShared opens a database that replicas share. A service caches sessions; a
// command does not.
func (s *storeFlags) openShared(ctx context.Context, serves bool, now func() time.Time, log *slog.Logger) (*openStores, error) {
	db, err := postgres.Open(ctx, postgres.Options{
		URL: s.database, ListenURL: s.listenAt, CacheSessions: serves, IdleTimeout: s.policy.IdleTimeout, Now: now, Log: log,
	})
	if err != nil {
		return nil, fail(exitFailed, "%w; nothing was done", err)
	}
	identity, err := db.Identity(ctx)
	if err != nil {
		return nil, fail(exitFailed, "%w; nothing was done", errors.Join(err, db.Close(ctx)))
	}
	return &openStores{
		Stores: db.Stores(), now: db.Now, ready: db.Ready, close: db.Close, postgres: db, metrics: []prometheus.Collector{db},
		name: admin.Store{Name: postgres.RedactURL(s.database), ID: identity},
	}, nil
}

// agreeOnKey refuses a server key that is not that of the other replicas, unless it is
// to replace theirs.
func (s *openStores) agreeOnKey(ctx context.Context, key []byte, replace bool) error {
	agree := s.postgres.AgreeOnKey
	if replace {
		agree = s.postgres.ReplaceKey
	}
	err := agree(ctx, key)
	if errors.Is(err, postgres.ErrOtherKey) {
		return fail(exitFailed, "%w, so tokens of one would be refused by the other; nothing was started; give every replica the same file with --key-file, or, if it is lost, stop them all and start one with --new-key, which ends all access tokens", err)
	}
	if err != nil {
		return fail(exitFailed, "%w; nothing was started", err)
	}
	return nil
}

// warnDatabase warns of an embedded database that others may read: one that was copied or
// restored has the mode that the copy was given.
func (a *app) warnDatabase(s *storeFlags) {
	if !s.shared() {
		a.warnReadable(s.databasePath())
	}
}

// administer opens the stores for one command. It makes neither a data directory nor a
// server key: no access token is looked at, and only a check of the audit trail uses
// the key that is there.
func (s *storeFlags) administer(ctx context.Context, now func() time.Time, log *slog.Logger) (*service, error) {
	key, err := s.readKey()
	if errors.Is(err, fs.ErrNotExist) {
		key, err = newKey(), nil
	}
	if err != nil {
		return nil, err
	}
	open := s.openEmbedded
	if s.shared() {
		open = func(ctx context.Context, now func() time.Time, log *slog.Logger) (*openStores, error) {
			return s.openShared(ctx, false, now, log)
		}
	}
	stores, err := open(ctx, now, log)
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
