package service

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"log/slog"
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

// SQLiteScheme begins the name of an embedded database.
const SQLiteScheme = "sqlite:"

// The names of the files in a data directory.
const (
	DatabaseFile    = "latchkey.db"
	KeyFile         = "server.key"
	SocketFile      = "latchkey.sock"
	CertificateFile = "self-signed.pem"
)

const (
	closeTimeout    = 10 * time.Second
	maxSlideAhead   = 5 * time.Minute // what a crash may add to a session's life
	slidesInOneIdle = 4
)

// Store configures where the data of a service are, and under which rules they are used.
type Store struct {
	// Data is the data directory, with the database, the server key and the admin socket
	// unless other settings say otherwise. "": there is none, and so no admin socket.
	Data string
	// Database is sqlite:PATH, or the postgres:// URL of a database that replicas share.
	// "": the embedded one in the data directory.
	Database string
	// ListenURL leads to the same PostgreSQL database without a connection pooler, for
	// notifications. "": Database does.
	ListenURL string
	// Uncached makes a service query a PostgreSQL database for each session check.
	Uncached bool

	// Key is the server key. nil: it is read from KeyFile.
	Key []byte
	// KeyFile is the file with the server key. "": the one in the data directory, which
	// the first start creates.
	KeyFile string
	// NewKey creates a server key although the database was used with another one.
	NewKey bool

	Policy authority.Policy
}

// Shared reports whether the database is one that replicas share.
func (s *Store) Shared() bool { return postgres.IsURL(s.Database) }

// SocketPath returns the path of the admin socket.
func (s *Store) SocketPath() string { return filepath.Join(s.Data, SocketFile) }

// DatabasePath returns the path of the embedded database.
func (s *Store) DatabasePath() string {
	if s.Database != "" {
		return strings.TrimPrefix(s.Database, SQLiteScheme)
	}
	return filepath.Join(s.Data, DatabaseFile)
}

// Name returns the name of the database for people, without user and password.
func (s *Store) Name() string {
	if s.Shared() {
		return postgres.RedactURL(s.Database)
	}
	return SQLiteScheme + Resolve(s.DatabasePath())
}

// Exists reports whether there may be a database already.
func (s *Store) Exists() bool {
	if s.Shared() {
		return true // opening it shows whether there is
	}
	_, err := os.Stat(s.DatabasePath())
	return !errors.Is(err, fs.ErrNotExist)
}

// IsServed reports whether the database of a server is this one. If only the data
// directory is set, the database of the server on it is.
func (s *Store) IsServed(ctx context.Context, served admin.Store) (bool, error) {
	if s.Database == "" {
		return true, nil
	}
	if s.Shared() {
		if !postgres.IsURL(served.Name) {
			return false, nil
		}
		identity, err := postgres.IdentityAt(ctx, s.Database)
		return identity == served.ID, err
	}
	path, embedded := strings.CutPrefix(served.Name, SQLiteScheme)
	if !embedded {
		return false, nil
	}
	mine, err := os.Stat(s.DatabasePath())
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	its, err := os.Stat(path)
	return err == nil && os.SameFile(mine, its), nil
}

// Resolve returns the absolute path of a file, which need not exist, without symbolic links.
func Resolve(path string) string {
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

// Database is an open database.
type Database struct {
	authority.Stores
	Name     admin.Store
	Now      func() time.Time // the clock of the service
	Postgres *postgres.DB     // nil for the embedded database

	ready   func(context.Context) error
	writes  func() error // as server.Config.WriteFailure
	metrics []prometheus.Collector
	close   func(context.Context) error
}

// Close writes what is still to be written and closes the database.
func (d *Database) Close(ctx context.Context) error { return d.close(ctx) }

// OpenDatabase opens the database for a command, which does not cache sessions.
func (s *Store) OpenDatabase(ctx context.Context, now func() time.Time, log *slog.Logger) (*Database, error) {
	if s.Shared() {
		return s.openShared(ctx, false, now, log)
	}
	return s.openEmbedded(ctx, now, log)
}

func (s *Store) openEmbedded(ctx context.Context, now func() time.Time, log *slog.Logger) (*Database, error) {
	ahead := maxSlideAhead
	if s.Policy.IdleTimeout > 0 {
		ahead = min(ahead, s.Policy.IdleTimeout/slidesInOneIdle)
	}
	path := s.DatabasePath()
	db, err := sqlite.Open(ctx, sqlite.Options{Path: path, SlideAhead: ahead, Log: log})
	if err != nil {
		return nil, failed("%w; nothing was changed", err)
	}
	name := SQLiteScheme + Resolve(path)
	sum := sha256.Sum256([]byte(name))
	return &Database{
		Stores: db.Stores(), Name: admin.Store{Name: name, ID: hex.EncodeToString(sum[:16])}, Now: now,
		ready: db.Ready, writes: db.WriteFailure, close: func(ctx context.Context) error {
			if err := db.Close(ctx); err != nil {
				return failed("the database could not be closed properly: %w; accounts, locks and ended sessions are "+
					"safe; live sessions may seem used a few minutes later than they were", err)
			}
			return nil
		},
	}, nil
}

func (s *Store) openShared(
	ctx context.Context, caches bool, now func() time.Time, log *slog.Logger,
) (*Database, error) {
	db, err := postgres.Open(ctx, postgres.Options{
		URL: s.Database, ListenURL: s.ListenURL, CacheSessions: caches, IdleTimeout: s.Policy.IdleTimeout, Now: now, Log: log,
	})
	if err != nil {
		return nil, failed("%w; nothing was done", err)
	}
	identity, err := db.Identity(ctx)
	if err != nil {
		return nil, failed("%w; nothing was done", errors.Join(err, db.Close(ctx)))
	}
	return &Database{
		Stores: db.Stores(), Name: admin.Store{Name: postgres.RedactURL(s.Database), ID: identity}, Now: db.Now, Postgres: db,
		ready: db.Ready, metrics: []prometheus.Collector{db}, close: db.Close,
	}, nil
}

// agreeOnKey refuses a server key that is not that of the other replicas, unless it is to
// replace theirs.
func (d *Database) agreeOnKey(ctx context.Context, key []byte, replace bool) error {
	agree := d.Postgres.AgreeOnKey
	if replace {
		agree = d.Postgres.ReplaceKey
	}
	err := agree(ctx, key)
	if errors.Is(err, postgres.ErrOtherKey) {
		return failed("%w, so each would refuse the tokens of the other; nothing was started", err).
			advise("give every replica the same file with --key-file, or, if it is lost, stop them all and start one " +
				"with --new-key, which ends all access tokens")
	}
	if err != nil {
		return failed("%w; nothing was started", err)
	}
	return nil
}

// hasBeenUsed reports whether there are events or API clients in the database.
func (d *Database) hasBeenUsed(ctx context.Context) (bool, error) {
	events, err := d.Audit.AuditEvents(ctx, authority.AuditQuery{Limit: 1})
	if err != nil {
		return false, failed("%w; nothing was started", err)
	}
	clients, err := d.Clients.Clients(ctx)
	if err != nil {
		return false, failed("%w; nothing was started", err)
	}
	return len(events)+len(clients) > 0, nil
}

// Rules is an open database with the rules applied to it.
type Rules struct {
	*authority.Authority
	Database *Database

	key []byte
}

// Close closes the database.
func (r *Rules) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	return r.Database.Close(ctx)
}

// Administer opens the database for one command. It creates neither a data directory nor a
// server key, because commands use no access token, and only a check of the audit trail
// needs the key if there is one.
func (s *Store) Administer(ctx context.Context, now func() time.Time, log *slog.Logger) (*Rules, error) {
	key, err := s.ReadKey()
	if errors.Is(err, fs.ErrNotExist) {
		key, err = newKey(), nil
	}
	if err != nil {
		return nil, err
	}
	db, err := s.OpenDatabase(ctx, now, log)
	if err != nil {
		return nil, err
	}
	return s.apply(db, key, authority.Config{Log: log}, nil)
}

// apply applies the rules to a database. If that fails or err is not nil, it closes the
// database and returns the error.
func (s *Store) apply(db *Database, key []byte, config authority.Config, err error) (*Rules, error) {
	r := &Rules{Database: db, key: key}
	if err == nil {
		config.Stores, config.Key, config.Policy, config.Now = db.Stores, key, s.Policy, db.Now
		r.Authority, err = authority.New(config)
	}
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}
