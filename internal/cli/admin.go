package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/latchkey/latchkey/internal/server"
	"github.com/latchkey/latchkey/internal/store/sqlite"
	"github.com/latchkey/latchkey/internal/wire"
)

// adminAPI is what the admin commands speak to.
type adminAPI interface {
	Get(ctx context.Context, path string, query url.Values, answer any) error
	Post(ctx context.Context, path string, body, answer any) error
}

// adminWork is what an admin command does, given the admin API.
type adminWork func(ctx context.Context, api adminAPI, args []string) error

const adminHelp = `
It speaks to the running server through the socket in its data directory (--data),
so run it on the server's host as the server's user. If no server runs there, it opens
the database itself for a moment. If a database is named as well (--database, its
variable or the config file), it acts on that one or on none.`

// admin gives a command the flags of an admin command and makes it do work.
func (a *app) admin(command *cobra.Command, work adminWork) *cobra.Command {
	var store storeFlags
	command.Flags().SortFlags = false
	store.addPlaces(command.Flags())
	store.addPolicy(command.Flags())
	// The rules are the server's. They are flags here only so that the database
	// is opened under the same ones.
	for _, name := range []string{"database-listen", "key-file", "idle-timeout", "session-lifetime", "lock-after", "unlock-after", "keep-sessions-on-reset", "allow-weak-passwords", "keep-audit"} {
		command.Flags().Lookup(name).Hidden = true
	}
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

// change is admin for commands that change something, which say in which database.
func (a *app) change(command *cobra.Command, work adminWork) *cobra.Command {
	return a.admin(command, func(ctx context.Context, api adminAPI, args []string) error {
		defer a.tellStore()
		return work(ctx, api, args)
	})
}

// tellStore says once which database a change is made in.
func (a *app) tellStore() {
	if !a.storeTold {
		a.storeTold = true
		a.note("database: %s", a.store)
	}
}

// confirmChange is confirm for a change of the database, which the person should know.
func (a *app) confirmChange(ctx context.Context, yes bool, question string) error {
	if !yes {
		a.tellStore()
	}
	return a.confirm(ctx, yes, question)
}

// How long an admin command waits for another one, or for a server that is just
// starting or stopping, to give way.
const (
	adminPatience = 3 * time.Second
	adminRetry    = 50 * time.Millisecond
)

// reachAdmin answers the admin API of the server on the data directory, or of
// the database itself where no server runs. A server that has another database than
// the one that was named is refused.
func (a *app) reachAdmin(cmd *cobra.Command, store *storeFlags) (adminAPI, func() error, error) {
	ctx := cmd.Context()
	deadline := time.NewTimer(adminPatience)
	defer deadline.Stop()
	for {
		client, done, err := dialAdmin(ctx, store.socketPath())
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
		if !store.exists() {
			where, _ := filepath.Abs(store.data)
			return nil, nil, fail(exitFailed, "there is no latchkey database in %s; nothing was done; start the service there first (latchkey serve), or name its directory with --data", where)
		}
		api, done, err := a.openAdmin(ctx, store)
		if !errors.Is(err, sqlite.ErrInUse) {
			return api, done, err
		}
		select {
		case <-time.After(adminRetry):
		case <-deadline.C:
			return nil, nil, fail(exitFailed, "%w; no server answers on %s, so the one that has the database runs with another --data, or hangs; nothing was done", err, store.socketPath())
		case <-ctx.Done():
			return nil, nil, errInterrupted
		}
	}
}

// agreeOnStore returns the admin API of a server if it has the database that was named.
func (a *app) agreeOnStore(cmd *cobra.Command, client *server.AdminClient, store *storeFlags) (adminAPI, error) {
	var served wire.AdminStore
	if err := client.Get(cmd.Context(), wire.PathAdminStore, nil, &served); err != nil {
		return nil, fail(exitUnavailable, "the server on %s does not say which database it has: %w; nothing was done", store.socketPath(), err)
	}
	a.store = served.Name
	same, err := store.isNamed(cmd.Context(), served)
	has := fmt.Sprintf("the server on %s has the database %s", store.socketPath(), served.Name)
	const remedy = "nothing was done; name the data directory of the server that you mean with --data, or no database"
	switch {
	case err != nil:
		return nil, usage("%s, and whether %s, %s, is the same is not known: %w; %s", has, source(cmd, "database"), store.name(), err, remedy)
	case !same:
		return nil, usage("%s, but %s names %s; %s", has, source(cmd, "database"), store.name(), remedy)
	}
	return client.Only(served), nil
}

// dialAdmin answers nil where no server listens on the socket.
func dialAdmin(ctx context.Context, path string) (*server.AdminClient, func() error, error) {
	short, done, err := shortSocketPath(path)
	if err != nil {
		return nil, nil, err
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", short)
	if err != nil {
		done()
		if errors.Is(err, fs.ErrPermission) {
			return nil, nil, fail(exitFailed, "the admin socket %s belongs to another user; nothing was done; run this as the user that the server runs as", path)
		}
		return nil, nil, nil // nobody listens
	}
	_ = conn.Close() // it has told what there was to know
	return server.NewAdminClient(short), func() error { done(); return nil }, nil
}

// openAdmin opens the database and serves the admin API on a socket of its own
// for this one command, so that there is one way for all commands.
func (a *app) openAdmin(ctx context.Context, store *storeFlags) (adminAPI, func() error, error) {
	log := slog.New(slog.NewTextHandler(a.Err, &slog.HandlerOptions{Level: slog.LevelWarn}))
	opened, err := store.administer(ctx, a.Now, log)
	if err != nil {
		return nil, nil, err
	}
	directory, err := store.socketDirectory()
	if err != nil {
		return nil, nil, errors.Join(err, opened.close())
	}
	path := filepath.Join(directory, socketFile)
	listener, err := server.ListenUnix(path)
	if err != nil {
		return nil, nil, errors.Join(err, opened.close(), os.RemoveAll(directory))
	}
	a.store = opened.stores.name.Name
	a.warnDatabase(store)
	web := &http.Server{Handler: server.AdminHandler(opened.Authority, opened.stores.name, log), ReadHeaderTimeout: closeTimeout, ConnContext: server.WithPeer}
	a.direct = true
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = web.Serve(listener) // it ends with Close, below
	}()
	return server.NewAdminClient(path), func() error {
		err := web.Close()
		<-served
		return errors.Join(err, opened.close(), os.RemoveAll(directory))
	}, nil
}

// socketDirectory makes a directory for a socket, for its owner only: in the data
// directory if there is no other place that can be written.
func (s *storeFlags) socketDirectory() (string, error) {
	directory, err := os.MkdirTemp("", "latchkey-")
	if err == nil {
		return directory, nil
	}
	if directory, inData := os.MkdirTemp(s.data, ".admin-"); inData == nil {
		return directory, nil
	}
	return "", fail(exitFailed, "the socket of this command can be made nowhere: %w; nothing was done; name a directory that can be written in TMPDIR", err)
}

// adminFailure puts a refusal into words. what names the thing that was asked
// for: `user "zoe"`.
func adminFailure(err error, what, list string) error {
	var refusal *wire.AdminError
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &refusal):
		if errors.Is(err, io.EOF) || errors.As(err, new(*net.OpError)) {
			return fail(exitUnavailable, "the server stopped answering (%w); look whether %s was changed before trying again: %s", err, what, list)
		}
		return err
	case refusal.Code == wire.AdminNotFound:
		return fail(exitRefused, "there is no %s; nothing was changed; see: %s", what, list)
	case refusal.Code == wire.AdminExists:
		return fail(exitRefused, "%s exists already; nothing was changed; see: %s", what, list)
	case refusal.Code == wire.AdminOtherStore:
		return fail(exitFailed, "%s; nothing was done", refusal.Message)
	case refusal.Code == wire.AdminInvalid:
		return fail(exitRefused, "%s; nothing was changed", refusal.Message)
	}
	return fail(exitUnavailable, "%w", refusal)
}

// maxPage is the longest page that the admin API gives out.
const maxPage = 1000

// pages fetches pages of a listing until there are limit entries (0: all), or no
// more. fetch answers how many entries came and where the next page starts. It
// reports whether there is more than was fetched.
func pages(limit uint, fetch func(query url.Values) (n uint, next url.Values, err error)) (more bool, err error) {
	var next url.Values
	for got := uint(0); ; {
		size := uint(maxPage)
		if limit > 0 {
			size = min(maxPage, limit-got)
		}
		query := url.Values{}
		for name, values := range next {
			query[name] = values
		}
		query.Set("limit", strconv.FormatUint(uint64(size), 10))
		var n uint
		if n, next, err = fetch(query); err != nil || next == nil {
			return false, err
		}
		if got += n; limit > 0 && got >= limit {
			return true, nil
		}
	}
}
