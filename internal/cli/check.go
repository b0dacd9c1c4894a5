package cli

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/latchkey/latchkey/internal/server"
	"github.com/latchkey/latchkey/internal/service"
	"github.com/latchkey/latchkey/internal/store/postgres"
	"github.com/latchkey/latchkey/internal/store/sqlite"
)

// checkSurroundings finds what is wrong with the files, the databases and the addresses
// that the settings of `serve` name. It changes nothing, and does not mind a service
// that runs with them already.
func (a *app) checkSurroundings(cmd *cobra.Command, f *serveFlags, wrong *faults) {
	ctx := cmd.Context()
	from := func(name string) string { return source(cmd, name) }
	add := func(err error) {
		if err != nil {
			wrong.add("%v", err)
		}
	}
	if !f.simulate && (!f.demo || isSet(cmd, "data")) {
		add(checkDirectory(f.Data, from("data")))
		if info, err := os.Stat(f.Data); err == nil && service.OthersMay(info, 0o002) {
			wrong.add("every user of this machine may write in the data directory %s, and so take over the service; "+
				"close it: chmod o-w %s", f.Data, f.Data)
		}
		f.checkStore(ctx, from, wrong)
	}
	if f.tlsCert != "" && f.tlsKey != "" {
		if _, err := server.CertificateFiles(f.tlsCert, f.tlsKey, slog.New(slog.DiscardHandler)); err != nil {
			wrong.add("%v; check %s and %s", err, from("tls-cert"), from("tls-key"))
		}
	}
	a.checkListen(ctx, f, from("listen"), wrong)
	for _, made := range [][2]string{{"local-socket", f.localSocket}, {"ready-file", f.readyFile}} {
		name, path := made[0], made[1]
		if path == "" {
			continue
		}
		if _, err := os.Stat(filepath.Dir(path)); err != nil {
			wrong.add("%s %s cannot be made: %v", from(name), path, err)
		} else {
			add(checkDirectory(filepath.Dir(path), from(name)))
		}
	}
	if _, err := readReady(f.readyFile); f.readyFile != "" && err != nil && !errors.Is(err, fs.ErrNotExist) {
		wrong.add("%s %s is there and is not a ready file: %v", from("ready-file"), f.readyFile, err)
	}
	if f.upstream.url != "" {
		f.upstream.checkFiles(ctx, a, wrong)
	}
}

// checkDirectory returns an error if nothing can be made in a directory, or the
// directory itself cannot be made.
func checkDirectory(path, from string) error {
	for at := filepath.Clean(path); ; at = filepath.Dir(at) {
		info, err := os.Stat(at)
		switch {
		case errors.Is(err, fs.ErrNotExist) && at != filepath.Dir(at):
			continue
		case err != nil:
			return fail(exitFailed, "%s %s cannot be used: %w", from, path, err)
		case !info.IsDir():
			return fail(exitFailed, "%s %s cannot be used: %s is not a directory", from, path, at)
		}
		probe, err := os.CreateTemp(at, ".writable-*")
		if err != nil {
			return fail(exitFailed, "%s %s cannot be written to: %w; run this as its owner", from, path, errors.Unwrap(err))
		}
		return errors.Join(probe.Close(), os.Remove(probe.Name()))
	}
}

// checkStore looks at the server key and the database.
func (s *storeFlags) checkStore(ctx context.Context, from func(string) string, wrong *faults) {
	key, err := s.ReadKey()
	missing := errors.Is(err, fs.ErrNotExist)
	switch {
	case err == nil && s.NewKey:
		wrong.add("there is a server key in %s, and %s is for when it is lost; leave that out, or move the key elsewhere",
			s.KeyPath(), from("new-key"))
	case err != nil && (!missing || s.KeyFile != ""):
		wrong.add("%s", withHints(err))
	}
	if s.Shared() {
		if s.NewKey {
			key = nil // it is to replace that of the others
		}
		if err := postgres.Inspect(ctx, s.Database, key); err != nil {
			wrong.add("%s: %v", from("database"), err)
		} else if s.ListenURL != "" {
			if err := postgres.Inspect(ctx, s.ListenURL, nil); err != nil {
				wrong.add("%s: %v", from("database-listen"), err)
			}
		}
		return
	}
	path := s.DatabasePath()
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0:
		if err = checkDirectory(filepath.Dir(path), from("database")); err != nil && s.Database != "" {
			wrong.add("%v", err)
		}
		return
	case err != nil && s.Database != "": // checkDirectory reports the data directory
		wrong.add("%s: the database cannot be read: %v", from("database"), err)
	}
	if err != nil {
		return
	}
	used, err := sqlite.Inspect(ctx, path)
	if err != nil {
		wrong.add("%v", err)
		return
	}
	if used && missing && s.KeyFile == "" && !s.NewKey {
		wrong.add("the server key %s is missing, and the database %s has been used with one; restore the key from a "+
			"backup, or start once with --new-key: all access tokens end, and programs fetch new ones", s.KeyPath(), s.Name())
	}
}

// checkListen opens the port for a moment.
func (a *app) checkListen(ctx context.Context, f *serveFlags, from string, wrong *faults) {
	if _, _, err := net.SplitHostPort(f.listen); err != nil {
		return // which check has reported
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", f.listen)
	switch {
	case err == nil:
		_ = listener.Close() // no client has connected
	case service.IsAddressInUse(err):
		a.note("latchkey: note: %s is in use, by this service or by another program", f.listen)
	default:
		wrong.add("%s %s: %v", from, f.listen, err)
	}
}

// checkFiles looks at what the settings name of an upstream. It sends nothing.
func (u *upstreamFlags) checkFiles(ctx context.Context, a *app, wrong *faults) {
	if u.credentialFile != "" || os.Getenv(upstreamPasswordVariable) != "" {
		source, err := u.source(ctx, a)
		if err == nil {
			_, err = source.Load(ctx)
		}
		if err != nil {
			wrong.add("%v", err)
		}
	}
	if u.secretFile != "" {
		if _, err := u.apiSecret(a); err != nil {
			wrong.add("%v", err)
		}
	}
	if u.caFile != "" {
		if _, err := u.transport(); err != nil {
			wrong.add("%v", err)
		}
	}
}

// withHints returns the text of an error with its advice, for a list.
func withHints(err error) string {
	return strings.Join(append([]string{err.Error()}, hintsOf(err)...), "; ")
}
