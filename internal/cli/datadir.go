package cli

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/pflag"

	"github.com/latchkey/latchkey/internal/atomicfile"
	"github.com/latchkey/latchkey/internal/authority"
)

// What is in a data directory.
const (
	defaultDataDir  = "./latchkey-data"
	databaseFile    = "latchkey.db"
	keyFile         = "server.key"
	socketFile      = "latchkey.sock"
	certificateFile = "self-signed.pem"
)

const (
	keyBytes        = 32
	maxKeyBytes     = 4 << 10
	databaseScheme  = "sqlite:"
	closeTimeout    = 10 * time.Second
	maxSlideAhead   = 5 * time.Minute // what a crash may add to a session's life
	slidesInOneIdle = 4
)

// storeFlags say where the data of a service is and under which rules it runs.
// `serve` shows them all; the admin commands, which may have to open the database
// by themselves, take the same from the environment and the config file.
type storeFlags struct {
	data     string
	database string
	listenAt string
	keyFile  string
	newKey   bool
	// keyAgreed is set once the replicas hold this key to be theirs.
	keyAgreed bool
	policy    authority.Policy
	allowWeak bool
}

// addPlaces registers the flags that say where.
func (s *storeFlags) addPlaces(flags *pflag.FlagSet) {
	flags.StringVar(&s.data, "data", defaultDataDir, "the `DIR` with the database, the server key and the admin socket")
	flags.StringVar(&s.database, "database", "", "the `DATABASE`, as sqlite:PATH or, for several replicas, postgres://… (default: "+databaseFile+" in the data directory)")
	flags.StringVar(&s.listenAt, "database-listen", "", "the same postgres:// database without a connection pooler in between, for notifications: `URL` (default: that of --database)")
	flags.StringVar(&s.keyFile, "key-file", "", "the `FILE` with the server key, 32 random bytes or more (default: "+keyFile+" in the data directory, made on first start)")
	settings(flags, "data", "database", "database-listen", "key-file")
}

// addPolicy registers the flags that say under which rules.
func (s *storeFlags) addPolicy(flags *pflag.FlagSet) {
	flags.DurationVar(&s.policy.IdleTimeout, "idle-timeout", 20*time.Minute, "a session unused for this `TIME` is over")
	flags.DurationVar(&s.policy.Lifetime, "session-lifetime", 0, "a session older than this `TIME` is over, used or not (default: no such end)")
	flags.IntVar(&s.policy.LockAfter, "lock-after", 5, "lock the account at the `N`th failed login in a row")
	flags.DurationVar(&s.policy.UnlockAfter, "unlock-after", 0, "a lock lifts by itself after this `TIME` (default: an operator lifts it)")
	flags.BoolVar(&s.policy.KeepSessionsOnReset, "keep-sessions-on-reset", false, "a password reset leaves the user's other sessions alive")
	flags.BoolVar(&s.allowWeak, "allow-weak-passwords", false, "let operators set passwords that are short, common or the user's name; for tests only")
	flags.Var((*days)(&s.policy.KeepAudit), "keep-audit", "keep the audit trail for this `TIME`, as 365d (default: for ever)")
	settings(flags, "keep-audit", "idle-timeout", "session-lifetime", "lock-after", "unlock-after", "keep-sessions-on-reset", "allow-weak-passwords")
}

// addHidden registers all of them for a command that may have to open the database itself.
// It shows only --data and --database: the rules are the server's, and the others are
// flags here only so that the command opens the database under the same rules.
func (s *storeFlags) addHidden(flags *pflag.FlagSet) {
	s.addPlaces(flags)
	s.addPolicy(flags)
	for _, name := range []string{
		"database-listen", "key-file", "idle-timeout", "session-lifetime", "lock-after", "unlock-after",
		"keep-sessions-on-reset", "allow-weak-passwords", "keep-audit",
	} {
		flags.Lookup(name).Hidden = true
	}
}

// check answers what is wrong with them.
func (s *storeFlags) check(source func(string) string, wrong *faults) {
	if s.data == "" {
		wrong.add("%s is empty", source("data"))
	}
	s.checkStores(source, wrong)
	if s.policy.IdleTimeout < time.Second {
		wrong.add("%s %v is below one second", source("idle-timeout"), s.policy.IdleTimeout)
	}
	if s.policy.Lifetime < 0 {
		wrong.add("%s %v is negative", source("session-lifetime"), s.policy.Lifetime)
	}
	if s.policy.LockAfter < 1 || s.policy.LockAfter > 1000 {
		wrong.add("%s %d is not between 1 and 1000", source("lock-after"), s.policy.LockAfter)
	}
	if s.policy.UnlockAfter < 0 {
		wrong.add("%s %v is negative", source("unlock-after"), s.policy.UnlockAfter)
	}
}

func (s *storeFlags) socketPath() string { return filepath.Join(s.data, socketFile) }

// service is an open database with the rules applied to it.
type service struct {
	*authority.Authority
	key    []byte
	stores *openStores
}

// open makes the data directory where it is missing, opens the stores and reads or
// makes the server key. hash holds the costs of hashing.
func (s *storeFlags) open(ctx context.Context, hash authority.Config, now func() time.Time, log *slog.Logger) (*service, error) {
	if err := makeDataDir(s.data); err != nil {
		return nil, err
	}
	if s.shared() {
		return s.openReplica(ctx, hash, now, log)
	}
	stores, err := s.openEmbedded(ctx, now, log)
	if err != nil {
		return nil, err
	}
	key, err := s.serverKey(func() (bool, error) { return hasBeenUsed(ctx, stores) })
	return s.govern(stores, key, hash, log, err)
}

// openReplica opens a database that replicas share, whose server key they agree on.
func (s *storeFlags) openReplica(ctx context.Context, hash authority.Config, now func() time.Time, log *slog.Logger) (*service, error) {
	key, err := s.serverKey(func() (bool, error) { return false, nil }) // the database tells, below
	if err != nil {
		return nil, err
	}
	stores, err := s.openShared(ctx, true, now, log)
	if err != nil {
		return nil, err
	}
	if err = stores.agreeOnKey(ctx, key, s.newKey); err == nil {
		s.keyAgreed = true
	}
	return s.govern(stores, key, hash, log, err)
}

// hasBeenUsed reports whether there is anything in the stores.
func hasBeenUsed(ctx context.Context, stores *openStores) (bool, error) {
	events, err := stores.Audit.AuditEvents(ctx, authority.AuditQuery{Limit: 1})
	if err != nil {
		return false, fail(exitFailed, "%w; nothing was started", err)
	}
	clients, err := stores.Clients.Clients(ctx)
	if err != nil {
		return false, fail(exitFailed, "%w; nothing was started", err)
	}
	return len(events)+len(clients) > 0, nil
}

// govern applies the rules to open stores, and closes them if that fails, or if err
// says that something has.
func (s *storeFlags) govern(stores *openStores, key []byte, hash authority.Config, log *slog.Logger, err error) (*service, error) {
	opened := &service{key: key, stores: stores}
	if err == nil {
		policy := s.policy
		policy.RefuseWeakPasswords = !s.allowWeak
		hash.Stores, hash.Key, hash.Policy, hash.Now, hash.Log = stores.Stores, key, policy, stores.now, log
		opened.Authority, err = authority.New(hash)
	}
	if err != nil {
		return nil, errors.Join(err, opened.close())
	}
	return opened, nil
}

// close writes what is still to be written and gives the stores up.
func (s *service) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	return s.stores.close(ctx)
}

// makeDataDir makes the data directory, for its owner only. One that is there
// already may be readable by others (volumes of containers are), but whoever may
// write in it could put another database in place of ours.
func makeDataDir(path string) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return fail(exitFailed, "the data directory cannot be made: %w; nothing was started; choose a place that you may write to with --data", err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return fail(exitFailed, "the data directory cannot be used: %w; nothing was started", err)
	}
	if othersMay(info, 0o002) {
		return fail(exitFailed, "everybody may write in the data directory %s, and so take over the service; nothing was started; close it: chmod o-w %s", path, path)
	}
	probe, err := os.CreateTemp(path, ".writable-*")
	if err != nil {
		return fail(exitFailed, "the data directory %s cannot be written to: %w; nothing was started; run as its owner, or choose another one with --data", path, errors.Unwrap(err))
	}
	return errors.Join(probe.Close(), os.Remove(probe.Name()))
}

// readKey reads the server key. The error is fs.ErrNotExist if there is none.
func (s *storeFlags) readKey() ([]byte, error) {
	path := s.keyPath()
	info, err := os.Stat(path)
	if err != nil {
		return nil, fail(exitFailed, "the server key cannot be read: %w; nothing was done", err)
	}
	if othersMay(info, 0o077) {
		return nil, fail(exitFailed, "others may read the server key %s (mode %#o), and so make access tokens; nothing was done; close it: chmod 600 %s", path, info.Mode().Perm(), path)
	}
	key, err := readBounded(path, maxKeyBytes)
	if err != nil {
		return nil, fail(exitFailed, "the server key cannot be read: %w; nothing was done", err)
	}
	if len(key) < keyBytes {
		return nil, fail(exitFailed, "the server key %s has %d bytes, and at least %d are needed; nothing was done; restore it from a backup, or delete it and start once with --new-key, which ends all access tokens", path, len(key), keyBytes)
	}
	return key, nil
}

func (s *storeFlags) keyPath() string {
	if s.keyFile != "" {
		return s.keyFile
	}
	return filepath.Join(s.data, keyFile)
}

func newKey() []byte {
	key := make([]byte, keyBytes)
	_, _ = rand.Read(key) // it cannot fail; it ends the program instead
	return key
}

// serverKey reads the server key. The one in the data directory is made on the first
// start: used reports whether the database has been used, which it cannot have been
// without a key. Its caller holds the database, so that no other process does the same.
func (s *storeFlags) serverKey(used func() (bool, error)) ([]byte, error) {
	key, err := s.readKey()
	if s.newKey && err == nil {
		return nil, fail(exitFailed, "there is a server key in %s, and --new-key is for when it is lost; nothing was started; leave --new-key out, or move the key elsewhere", s.keyPath())
	}
	if !errors.Is(err, fs.ErrNotExist) || s.keyFile != "" {
		return key, err
	}
	was, err := used()
	if err != nil {
		return nil, err
	}
	if was && !s.newKey {
		return nil, fail(exitFailed, "the server key %s is missing, and the database %s has been used with one; nothing was started; restore the key from a backup, or start once with --new-key: all access tokens end, and programs fetch new ones", s.keyPath(), s.name())
	}
	key = newKey()
	if err := atomicfile.Write(s.keyPath(), key); err != nil {
		return nil, fail(exitFailed, "the server key cannot be stored: %w; nothing was started", err)
	}
	return key, nil
}

// shortSocketPath answers a path to the same socket that the system takes: it
// allows about a hundred bytes. done removes what was made for it.
func shortSocketPath(path string) (short string, done func(), err error) {
	const longest = 103 // macOS allows 104 with the terminating zero, Linux 108
	if len(path) <= longest {
		return path, func() {}, nil
	}
	complain := func(err error) error {
		return fail(exitFailed, "the path of the admin socket, %s, is longer than a socket may have, and no shortcut can be made: %w; choose a shorter --data, or name a directory that can be written in TMPDIR", path, err)
	}
	absolute, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return "", nil, complain(err)
	}
	directory, err := os.MkdirTemp("", "latchkey-")
	if err != nil {
		return "", nil, complain(err)
	}
	done = func() { _ = os.RemoveAll(directory) } // only the shortcut is in it
	link := filepath.Join(directory, "d")
	if err := os.Symlink(absolute, link); err != nil {
		done()
		return "", nil, complain(err)
	}
	short = filepath.Join(link, filepath.Base(path))
	if len(short) > longest {
		done()
		return "", nil, complain(fmt.Errorf("the temporary directory's own path is too long"))
	}
	return short, done, nil
}
