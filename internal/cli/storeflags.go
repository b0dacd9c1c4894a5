package cli

import (
	"net/url"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/latchkey/latchkey/internal/service"
	"github.com/latchkey/latchkey/internal/store/postgres"
)

const defaultDataDir = "./latchkey-data"

// storeFlags are the flags that say where the data of a service are and under which rules
// they are used. `serve` shows all of them. The admin commands, which may have to open the
// database themselves, take the same settings from the environment and the config file.
type storeFlags struct {
	service.Store

	allowWeak bool
}

// settings returns what the flags say.
func (s *storeFlags) settings() *service.Store {
	store := s.Store
	store.Policy.RefuseWeakPasswords = !s.allowWeak
	return &store
}

// addPlaces registers the flags that say where the data are.
func (s *storeFlags) addPlaces(flags *pflag.FlagSet) {
	flags.StringVar(&s.Data, "data", defaultDataDir, "the `DIR` with the database, the server key and the admin socket")
	flags.StringVar(&s.Database, "database", "",
		"the `DATABASE`, as sqlite:PATH or, for several replicas, postgres://… (default: "+service.DatabaseFile+" in the "+
			"data directory)")
	flags.StringVar(&s.ListenURL, "database-listen", "",
		"the same postgres:// database without a connection pooler, for notifications: `URL` (default: that of --database)")
	flags.StringVar(&s.KeyFile, "key-file", "",
		"the `FILE` with the server key, 32 random bytes or more (default: "+service.KeyFile+
			" in the data directory, created by the first start)")
	settings(flags, "data", "database", "database-listen", "key-file")
}

// addPolicy registers the flags of the rules.
func (s *storeFlags) addPolicy(flags *pflag.FlagSet) {
	flags.DurationVar(&s.Policy.IdleTimeout, "idle-timeout", 20*time.Minute,
		"a session that is not used for this `TIME` ends")
	flags.DurationVar(&s.Policy.Lifetime, "session-lifetime", 0,
		"a session older than this `TIME` ends, used or not (default: none does)")
	flags.IntVar(&s.Policy.LockAfter, "lock-after", 5, "lock the account at the `N`th consecutive failed login")
	flags.DurationVar(&s.Policy.UnlockAfter, "unlock-after", 0,
		"lift a lock after this `TIME` (default: an operator lifts it)")
	flags.BoolVar(&s.Policy.KeepSessionsOnReset, "keep-sessions-on-reset", false,
		"a password reset does not end the user's other sessions")
	flags.BoolVar(&s.allowWeak, "allow-weak-passwords", false,
		"let operators set passwords that are short, common or the user's name; for tests only")
	flags.Var((*days)(&s.Policy.KeepAudit), "keep-audit",
		"keep the audit trail for this `TIME`, as 365d (default: for ever)")
	settings(flags, "keep-audit", "idle-timeout", "session-lifetime", "lock-after", "unlock-after",
		"keep-sessions-on-reset", "allow-weak-passwords")
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

// check adds what is wrong with them to wrong.
func (s *storeFlags) check(source func(string) string, wrong *faults) {
	if s.Data == "" {
		wrong.add("%s is empty", source("data"))
	}
	s.checkStores(source, wrong)
	if s.Policy.IdleTimeout < time.Second {
		wrong.add("%s %v is below one second", source("idle-timeout"), s.Policy.IdleTimeout)
	}
	if s.Policy.Lifetime < 0 {
		wrong.add("%s %v is negative", source("session-lifetime"), s.Policy.Lifetime)
	}
	if s.Policy.LockAfter < 1 || s.Policy.LockAfter > 1000 {
		wrong.add("%s %d is not between 1 and 1000", source("lock-after"), s.Policy.LockAfter)
	}
	if s.Policy.UnlockAfter < 0 {
		wrong.add("%s %v is negative", source("unlock-after"), s.Policy.UnlockAfter)
	}
}

// checkStores adds what is wrong with the names of the databases to wrong.
func (s *storeFlags) checkStores(source func(string) string, wrong *faults) {
	path, embedded := strings.CutPrefix(s.Database, service.SQLiteScheme)
	switch {
	case s.Database == "", embedded && path != "":
	case !s.Shared():
		wrong.add("%s %q is not a database that this version knows; write it like "+
			"sqlite:/var/lib/latchkey/latchkey.db, or postgres://latchkey@db.example:5432/latchkey",
			source("database"), withoutPassword(s.Database))
	default:
		checkNoPassword("database", s.Database, source, wrong)
	}
	switch {
	case s.ListenURL == "":
	case !postgres.IsURL(s.ListenURL):
		wrong.add("%s is not the URL of a PostgreSQL database; write it like "+
			"postgres://latchkey@db.example:5432/latchkey", source("database-listen"))
	case !s.Shared():
		wrong.add("%s has no use without a postgres:// database: the embedded one has one process, and no notifications",
			source("database-listen"))
	default:
		checkNoPassword("database-listen", s.ListenURL, source, wrong)
	}
}

// checkNoPassword refuses a password in a flag, where every user of the machine sees it.
func checkNoPassword(name, address string, source func(string) string, wrong *faults) {
	parsed, err := url.Parse(address)
	if from := source(name); err == nil && from == "--"+name {
		if _, set := parsed.User.Password(); set || parsed.Query().Has("password") {
			wrong.add("%s contains a password, which every user of this machine can see in the list of processes; "+
				"put the URL in %s or in the config file", from, variable(name))
		}
	}
}

// withoutPassword returns what should be a URL without the user, the password and the
// parameters.
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

// warnDatabase warns of an embedded database that others may read: the copy of a database
// has the mode that it was copied with.
func (a *app) warnDatabase(s *storeFlags) {
	if !s.Shared() {
		a.warnReadable(s.DatabasePath())
	}
}
