package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/latchkey/latchkey/internal/admin"
	"github.com/latchkey/latchkey/internal/service"
	"github.com/latchkey/latchkey/internal/store/sqlite"
)

// adminWork is what an admin command does with a client of the administration API.
type adminWork func(ctx context.Context, api *admin.Client, args []string) error

const adminHelp = `
The command connects to the running server through the socket in its data directory
(--data), so run it on the server's host as the server's user. If no server runs there,
the command opens the database itself. If you also name a database (--database, its
variable or the config file), the command acts only on that database.`

// admin makes command an admin command, which does work.
func (a *app) admin(command *cobra.Command, work adminWork) *cobra.Command {
	var store storeFlags
	command.Flags().SortFlags = false
	store.addHidden(command.Flags())
	command.Long = command.Short + ".\n" + command.Long + adminHelp
	if command.ValidArgsFunction == nil {
		command.ValidArgsFunction = cobra.NoFileCompletions
	}
	a.stores[command] = &store
	a.conf.check(command, func(wrong *faults) {
		store.check(func(name string) string { return source(command, name) }, wrong)
	})
	command.RunE = func(cmd *cobra.Command, args []string) (err error) {
		api, done, err := a.reachAdmin(cmd, &store)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, done()) }()
		return work(cmd.Context(), api, args)
	}
	return command
}

// change is like admin, for commands that change the database. They print its name.
func (a *app) change(command *cobra.Command, work adminWork) *cobra.Command {
	return a.admin(command, func(ctx context.Context, api *admin.Client, args []string) error {
		defer a.printStore()
		return work(ctx, api, args)
	})
}

// printStore prints the name of the database that is changed. It prints it only once.
func (a *app) printStore() {
	if !a.storePrinted {
		a.storePrinted = true
		a.note("database: %s", a.store)
	}
}

// confirmChange prints the name of the database and then calls confirm.
func (a *app) confirmChange(ctx context.Context, yes bool, question string) error {
	if !yes {
		a.printStore()
	}
	return a.confirm(ctx, yes, question)
}

// How long an admin command waits until another command, or a server that is starting or
// stopping, releases the database, and how often it tries.
const (
	adminPatience = 3 * time.Second
	adminRetry    = 50 * time.Millisecond
)

// reachAdmin returns a client of the server on the data directory or, if no server runs
// there, of the database itself. It returns an error if the server has a database other
// than the named one.
func (a *app) reachAdmin(cmd *cobra.Command, store *storeFlags) (*admin.Client, func() error, error) {
	ctx := cmd.Context()
	deadline := time.NewTimer(adminPatience)
	defer deadline.Stop()
	for {
		client, done, err := dialAdmin(ctx, store.SocketPath())
		if err != nil {
			return nil, nil, err
		}
		if client != nil {
			api, err := a.agreeOnStore(cmd, client, store)
			if err != nil {
				return nil, nil, errors.Join(err, done())
			}
			return api, done, nil
		}
		if !store.Exists() {
			where, _ := filepath.Abs(store.Data)
			return nil, nil, fail(exitFailed, "there is no latchkey database in %s; nothing was done", where).
				hint("start the service there first (latchkey serve), or name its directory with --data")
		}
		api, done, err := a.openAdmin(ctx, store)
		if !isInUse(err) {
			return api, done, err
		}
		select {
		case <-time.After(adminRetry):
		case <-deadline.C:
			return nil, nil, fail(exitFailed, "%w; no server responds on %s; nothing was done", err, store.SocketPath()).
				hint("the server that has the database runs with another --data, or hangs; name its directory with --data")
		case <-ctx.Done():
			return nil, nil, errInterrupted
		}
	}
}

// agreeOnStore returns a client of a server after it has checked that the server has the
// named database.
func (a *app) agreeOnStore(cmd *cobra.Command, client *admin.Client, store *storeFlags) (*admin.Client, error) {
	served, err := client.Store(cmd.Context())
	if err != nil {
		return nil, fail(exitUnavailable, "the server on %s does not report which database it has: %w; nothing was done",
			store.SocketPath(), err)
	}
	a.store = served.Name
	same, err := store.IsServed(cmd.Context(), served)
	has := fmt.Sprintf("the server on %s has the database %s", store.SocketPath(), served.Name)
	const remedy = "name the data directory of the right server with --data, or name no database"
	switch {
	case err != nil:
		return nil, usage("%s; whether that is %s (%s) is not known: %w; nothing was done",
			has, store.Name(), source(cmd, "database"), err).hint("%s", remedy)
	case !same:
		return nil, usage("%s, but %s names %s; nothing was done", has, source(cmd, "database"), store.Name()).
			hint("%s", remedy)
	}
	return client.Only(served), nil
}

// dialAdmin returns a client of the server that listens on the socket, or nil if none
// does.
func dialAdmin(ctx context.Context, path string) (*admin.Client, func() error, error) {
	short, done, err := service.ShortSocketPath(path)
	if err != nil {
		return nil, nil, err
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", short)
	if err != nil {
		done()
		if errors.Is(err, fs.ErrPermission) {
			return nil, nil, fail(exitFailed, "the admin socket %s belongs to another user; nothing was done", path).
				hint("run the command as the user that the server runs as")
		}
		return nil, nil, nil // no server
	}
	_ = conn.Close() // it was only a test for a server
	return admin.NewClient(short), func() error { done(); return nil }, nil
}

// openAdmin opens the database and returns a client of it, and a function that closes it.
func (a *app) openAdmin(ctx context.Context, store *storeFlags) (*admin.Client, func() error, error) {
	log := slog.New(slog.NewTextHandler(a.Err, &slog.HandlerOptions{Level: slog.LevelWarn}))
	opened, err := store.settings().Administer(ctx, a.Now, log)
	if err != nil {
		return nil, nil, err
	}
	a.store = opened.Database.Name.Name
	a.warnDatabase(store)
	a.direct = true
	handler := admin.NewHandler(opened.Authority, opened.Database.Name, log)
	return admin.NewInProcessClient(handler, admin.Operator()), opened.Close, nil
}

// adminFailure returns the failure for an error of the administration API. what names the
// object of the request: `user "zoe"`. list is the command that lists such objects.
func adminFailure(err error, what, list string) error {
	var reported *admin.Error
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &reported):
		if errors.Is(err, io.EOF) || errors.As(err, new(*net.OpError)) {
			return fail(exitUnavailable, "the connection to the server broke: %w; the server may have made the change", err).
				hint("before you try again, check %s: %s", what, list)
		}
		return err
	case reported.Code == admin.CodeNotFound:
		return fail(exitRefused, "there is no %s; nothing was changed", what).hint("see: %s", list)
	case reported.Code == admin.CodeExists:
		return fail(exitRefused, "%s exists already; nothing was changed", what).hint("see: %s", list)
	case reported.Code == admin.CodeOtherStore:
		return fail(exitFailed, "%s; nothing was done", reported.Message)
	case reported.Code == admin.CodeInvalid:
		return fail(exitRefused, "%s; nothing was changed", reported.Message)
	}
	return fail(exitUnavailable, "%w", reported)
}

// pages calls fetch until it has fetched limit entries (0: all) or there are no more. fetch
// gets a page of at most size entries. It returns the number of entries and the start of
// the next page, or "". pages reports whether there may be further entries.
func pages(limit uint, fetch func(at string, size int) (n uint, next string, err error)) (more bool, err error) {
	next := ""
	for got := uint(0); ; {
		size := uint(admin.MaxPage)
		if limit > 0 {
			size = min(size, limit-got)
		}
		var n uint
		if n, next, err = fetch(next, int(size)); err != nil || next == "" {
			return false, err
		}
		if got += n; limit > 0 && got >= limit {
			return true, nil
		}
	}
}

// isInUse reports whether another process has the database open.
func isInUse(err error) bool { return errors.Is(err, sqlite.ErrInUse) }
