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
It reaches the running server through the socket in its data directory (--data), so run
it on the server's host as the server's user. If no server runs there, it opens the
database itself for a moment. If a database is named as well (--database, its variable
or the config file), it acts on that database or on none.`

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

// change is admin for commands that change something. They print which database that is.
func (a *app) change(command *cobra.Command, work adminWork) *cobra.Command {
	return a.admin(command, func(ctx context.Context, api *admin.Client, args []string) error {
		defer a.tellStore()
		return work(ctx, api, args)
	})
}

// tellStore prints, once, which database a change is made in.
func (a *app) tellStore() {
	if !a.storeTold {
		a.storeTold = true
		a.note("database: %s", a.store)
	}
}

// confirmChange is confirm for a change of the database, whose name it prints first.
func (a *app) confirmChange(ctx context.Context, yes bool, question string) error {
	if !yes {
		a.tellStore()
	}
	return a.confirm(ctx, yes, question)
}

// How long an admin command waits for another one, or for a server that is starting or
// stopping, to release the database, and how often it looks.
const (
	adminPatience = 3 * time.Second
	adminRetry    = 50 * time.Millisecond
)

// reachAdmin returns a client of the server on the data directory or, if no server runs
// there, of the database itself. It refuses a server that has another database than the
// one that was named.
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
			return nil, nil, fail(exitFailed, "%w; no server responds on %s, so the one that has the database runs with "+
				"another --data, or hangs; nothing was done", err, store.SocketPath())
		case <-ctx.Done():
			return nil, nil, errInterrupted
		}
	}
}

// agreeOnStore returns a client of a server that has the database which was named.
func (a *app) agreeOnStore(cmd *cobra.Command, client *admin.Client, store *storeFlags) (*admin.Client, error) {
	served, err := client.Store(cmd.Context())
	if err != nil {
		return nil, fail(exitUnavailable, "the server on %s does not report which database it has: %w; nothing was done",
			store.SocketPath(), err)
	}
	a.store = served.Name
	same, err := store.IsServed(cmd.Context(), served)
	has := fmt.Sprintf("the server on %s has the database %s", store.SocketPath(), served.Name)
	const remedy = "nothing was done; " +
		"name the data directory of the server that you mean with --data, or no database"
	switch {
	case err != nil:
		return nil, usage("%s, and whether %s, %s, is the same is not known: %w; %s",
			has, source(cmd, "database"), store.Name(), err, remedy)
	case !same:
		return nil, usage("%s, but %s names %s; %s", has, source(cmd, "database"), store.Name(), remedy)
	}
	return client.Only(served), nil
}

// dialAdmin returns nil if no server listens on the socket.
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
				hint("run this as the user that the server runs as")
		}
		return nil, nil, nil // no server
	}
	_ = conn.Close() // it showed that there is a server
	return admin.NewClient(short), func() error { done(); return nil }, nil
}

// openAdmin opens the database for this one command and returns a client of it.
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

// adminFailure explains an error of the administration API. what names the object of the
// request: `user "zoe"`. list is the command that lists such objects.
func adminFailure(err error, what, list string) error {
	var reported *admin.Error
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &reported):
		if errors.Is(err, io.EOF) || errors.As(err, new(*net.OpError)) {
			return fail(exitUnavailable, "the connection to the server broke (%w); before you try again, "+
				"check whether %s was changed: %s", err, what, list)
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

// pages fetches pages of a listing until there are limit entries (0: all), or no more.
// fetch returns how many entries a page of at most size had and where the next page
// starts, or "". pages reports whether there may be more than was fetched.
func pages(limit uint, fetch func(at string, size int) (n uint, next string, err error)) (more bool, err error) {
	next := ""
	for got := uint(0); ; {
		size := uint(admin.MaxPage)
		if limit > 0 {
			size = min(size, limit-got)
		}
		var n uint
		if n, next, err = fetch(next, int(size)); err != nil || next == "" { //nolint:gosec // at most MaxPage
			return false, err
		}
		if got += n; limit > 0 && got >= limit {
			return true, nil
		}
	}
}

// isInUse reports whether another process has the database open.
func isInUse(err error) bool { return errors.Is(err, sqlite.ErrInUse) }
