package cli

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/latchkey/latchkey/internal/service"
	"github.com/latchkey/latchkey/internal/store/postgres"
	"github.com/latchkey/latchkey/internal/store/sqlite"
)

func (a *app) backupCommand() *cobra.Command {
	var store storeFlags
	command := &cobra.Command{
		Use: "backup FILE", Short: "Copy the embedded database while the service runs", Args: exactly("the file to write"),
		Long: `Copy the embedded database while the service runs.

FILE is a new file that only you may read. It contains the whole database as of one
moment: users, API clients, strikes and locks, sessions, the audit trail. The service may
keep running. FILE is synced to the disk and checked before this command ends with 0. If
the backup fails, no FILE is left behind.

The backup does not contain the server key, so a stolen backup cannot be used to make
access tokens. Keep one copy of that file in another place; it never changes. Without it,
a backup can still be restored: latchkey serve --new-key ends all access tokens, and
programs fetch new ones.

To restore, stop the service, and start it on an empty directory with the two files:

  mkdir -m 700 restored && cp FILE restored/latchkey.db && cp server.key restored/
  latchkey serve --data restored

docs/operating.md lists what to check afterwards. Run backup on the server's host, as the
server's user. To back up a PostgreSQL database, use pg_dump.
`,
		Example: "  latchkey backup /var/backups/latchkey-$(date +%F).db --data /var/lib/latchkey",
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveDefault
		},
	}
	command.Flags().SortFlags = false
	store.addHidden(command.Flags())
	a.conf.check(command, func(wrong *faults) {
		store.check(func(name string) string { return source(command, name) }, wrong)
	})
	command.RunE = func(cmd *cobra.Command, args []string) error { return a.backup(cmd, &store, args[0]) }
	return command
}

func (a *app) backup(cmd *cobra.Command, store *storeFlags, file string) error {
	if file == "-" || strings.HasSuffix(file, string(filepath.Separator)) {
		return usage("%q is not the name of a file; nothing was written", file).
			hint("name the new file, for example latchkey.backup")
	}
	path, err := a.embeddedPath(cmd, store)
	if err != nil {
		return err
	}
	err = sqlite.Backup(cmd.Context(), path, file)
	const kept = "no backup was made, and the database is unchanged"
	switch {
	case errors.Is(err, context.Canceled):
		return fail(exitFailed, "interrupted: %w; %s", err, kept)
	case errors.Is(err, sqlite.ErrBackupExists):
		return fail(exitFailed, "%w, and a backup does not overwrite it; nothing was written", err).
			hint("choose another name, or remove the file first")
	case errors.Is(err, sqlite.ErrNoDatabase):
		return fail(exitFailed, "%w; nothing was written", err).hint("name its directory with --data")
	case errors.Is(err, syscall.ENOSPC), err != nil && strings.Contains(err.Error(), "disk is full"):
		return fail(exitFailed, "the disk has no room for the backup: %w; %s", err, kept).
			hint("free space, or choose another disk")
	case errors.Is(err, fs.ErrPermission):
		return fail(exitFailed, "%w; %s", err, kept).
			hint("run this as the user of the server, and choose a directory in which that user may write")
	case err != nil:
		return fail(exitFailed, "%w; %s", err, kept)
	}
	a.note("database: %s", service.SQLiteScheme+service.Resolve(path))
	a.note("the backup is %s, complete and readable by you only", service.Resolve(file))
	key := store.KeyPath()
	if _, err := os.Stat(key); err == nil {
		a.note("the server key is not in it; keep a copy of %s in another place", service.Resolve(key))
	} else {
		a.note("the server key is not in it; keep a copy of the file in another place")
	}
	return nil
}

// embeddedPath returns the file of the embedded database: that of the server on the data
// directory, or, if no server runs there, the one that the settings name.
func (a *app) embeddedPath(cmd *cobra.Command, store *storeFlags) (string, error) {
	const useTools = "back it up with its own tools: pg_dump --format=custom (docs/scaling.md)"
	client, done, err := dialAdmin(cmd.Context(), store.SocketPath())
	if err != nil {
		return "", err
	}
	if client != nil {
		_, err := a.agreeOnStore(cmd, client, store)
		if err := errors.Join(err, done()); err != nil {
			return "", err
		}
		path, embedded := strings.CutPrefix(a.store, service.SQLiteScheme)
		switch {
		case embedded:
			return path, nil
		case postgres.IsURL(a.store):
			return "", fail(exitUsage, "the database of the server on %s, %s, is a PostgreSQL database; nothing was written",
				store.SocketPath(), a.store).hint(useTools)
		}
		return "", fail(exitUsage, "the server on %s keeps all data in memory (%s); nothing was written",
			store.SocketPath(), a.store)
	}
	if store.Shared() {
		return "", fail(exitUsage, "%s, from %s, is a PostgreSQL database; nothing was written",
			store.Name(), source(cmd, "database")).
			hint(useTools)
	}
	return store.DatabasePath(), nil
}
