package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/service"
	"github.com/latchkey/latchkey/internal/store/postgres"
	"github.com/latchkey/latchkey/internal/store/sqlite"
)

func (a *app) importCommand() *cobra.Command {
	var target storeFlags
	command := &cobra.Command{
		Use: "import FROM", Short: "Copy an embedded database into PostgreSQL",
		Args: exactly("the data directory, or the file of the database"),
		Long: `Copy an embedded database into PostgreSQL.

FROM is a data directory whose service is stopped, or the file of a database, such as one
that latchkey backup has written. Name the PostgreSQL database with LATCHKEY_DATABASE (or
--database). It must be empty.

import copies users with their rules, API clients, strikes and locks, and the audit trail
in one transaction and compares the result: either all data is copied, or none. The trail
keeps its numbers and its chain, so an earlier head remains valid for
latchkey audit verify --head. Sessions are not copied, so users log in again. The state that a gateway
shares for its upstream is not copied either; its credential file remains in use.

The server key stays the same: give every replica the key file of FROM (server.key) with
--key-file. If FROM is a single file, name the key here, too.

import upgrades FROM to this version, as a start of the service would, and changes nothing
else in it. Do not start a service on FROM again: its data would diverge.
`,
		Example: `  LATCHKEY_DATABASE=postgres://latchkey@db.example/latchkey latchkey import /var/lib/latchkey
  latchkey import latchkey.backup --key-file server.key --database postgres://latchkey@db.example/latchkey`,
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveDefault
		},
	}
	command.Flags().SortFlags = false
	target.addHidden(command.Flags())
	command.Flags().Lookup("data").Hidden = true // given by the argument
	command.Flags().Lookup("key-file").Hidden = false
	command.Flags().Lookup("key-file").Usage =
		"the `FILE` with the server key (default: " + service.KeyFile + " beside the database)"
	a.conf.check(command, func(wrong *faults) {
		target.check(func(name string) string { return source(command, name) }, wrong)
		if !target.Shared() {
			wrong.add("the PostgreSQL database to import into is missing; name it with LATCHKEY_DATABASE, " +
				"for example postgres://latchkey@db.example:5432/latchkey")
		}
	})
	command.RunE = func(cmd *cobra.Command, args []string) error { return a.importFrom(cmd.Context(), &target, args[0]) }
	return command
}

// openSource opens the database to import and reads its server key.
func (a *app) openSource(
	ctx context.Context, target *storeFlags, from string, log *slog.Logger,
) (*sqlite.DB, []byte, error) {
	path := strings.TrimPrefix(from, service.SQLiteScheme)
	info, err := os.Stat(path)
	if err == nil && info.IsDir() {
		path = filepath.Join(path, service.DatabaseFile)
		info, err = os.Stat(path)
	}
	if err != nil || info.Size() == 0 {
		return nil, nil, fail(exitFailed, "no latchkey database in %s; nothing was imported", from).
			hint("name a data directory, or the file of a database")
	}
	beside := service.Store{Data: filepath.Dir(path)}
	own, err := beside.ReadKey()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, err
	}
	key := own
	if target.KeyFile != "" {
		if key, err = target.ReadKey(); err != nil {
			return nil, nil, err
		}
	}
	switch {
	case key == nil:
		return nil, nil, fail(exitFailed, "no server key %s; nothing was imported", beside.KeyPath()).
			hint("name its file with --key-file; if the key is lost, name a new file with 32 random bytes, " +
				"which makes programs fetch new access tokens")
	case own != nil && !bytes.Equal(own, key):
		return nil, nil, fail(exitFailed, "%s is not the server key of the database, which is %s; nothing was imported",
			target.KeyFile, beside.KeyPath()).hint("leave out --key-file, and give the replicas %s", beside.KeyPath())
	}
	db, err := sqlite.Open(ctx, sqlite.Options{Path: path, Log: log})
	if errors.Is(err, sqlite.ErrInUse) {
		return nil, nil, fail(exitFailed, "%s is in use by a service; nothing was imported", path).
			hint("stop the service first, because its later changes would not be imported")
	}
	if err != nil {
		return nil, nil, fail(exitFailed, "%w; nothing was imported", err)
	}
	return db, key, nil
}

func (a *app) importFrom(ctx context.Context, target *storeFlags, from string) (err error) {
	log := slog.New(slog.NewTextHandler(a.Err, &slog.HandlerOptions{Level: slog.LevelWarn}))
	source, key, err := a.openSource(ctx, target, from, log)
	if err != nil {
		return err
	}
	closing := context.WithoutCancel(ctx)
	defer func() { err = errors.Join(err, source.Close(closing)) }()
	before, err := proofOf(ctx, source.Stores(), key, log)
	if err != nil {
		return err
	}
	stores, err := target.settings().OpenDatabase(ctx, a.Now, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stores.Close(closing)) }()
	a.store = stores.Name.Name
	a.printStore()
	done, err := stores.Postgres.Import(ctx, source.Reader(), key, func(done postgres.Imported) authority.Event {
		return authority.Event{At: stores.Now(), Kind: authority.EventImported, Address: "import", Detail: fmt.Sprintf(
			"%d users, %d API clients, %d strikes, %d events up to #%d, chain %s",
			done.Users, done.Clients, done.Strikes, done.Events, done.LastEvent, done.Head)}
	})
	const nothing = "nothing was imported"
	switch {
	case errors.Is(err, postgres.ErrNotEmpty):
		return fail(exitRefused, "%w; %s", err, nothing).hint("name a database that no service has used")
	case errors.Is(err, postgres.ErrOtherKey):
		return fail(exitRefused, "%w; %s", err, nothing).
			hint("the replicas need the server key of the imported database: stop them, and name a new, empty database")
	case errors.Is(err, context.Canceled):
		return fail(exitFailed, "interrupted: %w; the import may have been completed", err).
			hint("check it with: latchkey user list")
	case err != nil:
		return fail(exitFailed, "%w; %s", err, nothing)
	}
	after, err := proofOf(ctx, stores.Stores, key, log)
	if err != nil {
		return err
	}
	return a.tellImported(done, before, after)
}

// proofOf verifies the audit trail of a database.
func proofOf(ctx context.Context, stores authority.Stores, key []byte, log *slog.Logger) (authority.AuditProof, error) {
	rules, err := authority.New(authority.Config{Stores: stores, Key: key, Log: log})
	if err != nil {
		return authority.AuditProof{}, fail(exitFailed, "%w", err)
	}
	proof, err := rules.VerifyAudit(ctx, authority.AuditMark{})
	if err != nil {
		return proof, fail(exitFailed, "the audit trail cannot be read: %w", err)
	}
	return proof, nil
}

func (a *app) tellImported(done postgres.Imported, before, after authority.AuditProof) error {
	a.note("imported: %d users, %d API clients, %d strikes and locks, %d events of the audit trail; "+
		"sessions are not imported", done.Users, done.Clients, done.Strikes, done.Events)
	switch {
	case before.Broken != 0:
		a.note("the audit trail was already broken at event #%d: %s; it was imported unchanged",
			before.Broken, before.Problem)
	case after.Broken != 0:
		return fail(exitFailed, "all data was imported, but the audit trail is now broken at event #%d: %s",
			after.Broken, after.Problem).hint("find out what else writes to the PostgreSQL database")
	default:
		a.note("the audit trail is intact; head  %d:%s", after.Last, after.Head)
	}
	a.note("start the replicas with the same server key; do not start a service on the old database again")
	return nil
}
