package cli

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/credential"
	"github.com/latchkey/latchkey/internal/wire"
	"github.com/latchkey/latchkey/keeper"
)

// upstream is where the credential of an upstream lives, and the state that the
// keepers of this account share.
type upstream struct {
	endpoint
	credentialFile string
	identityFile   string // the age key of the credential file
	stateFile      string
	shared         sharedDatabase
}

const upstreamHelp = `
The credential is a file that only you may read: {"username": "…", "password": "…"},
made by ` + "`latchkey credential set`" + ` and encrypted if --age-key-file names a key (as
age-keygen makes it). The state is what all programs that use this account share: the
session, the count of failed logins, and a rotation under way. Its file is encrypted,
with a key beside it. Name the same two files everywhere.
`

// addFlags registers the flags of a command about an upstream.
func (u *upstream) addFlags(a *app, command *cobra.Command) {
	flags := command.Flags()
	flags.SortFlags = false
	u.addPlaceFlags(command)
	flags.StringVar(&u.stateFile, "state-file", "", "the `FILE` with the shared state (default: the credential file's "+
		"name with .state appended)")
	settings(flags, "state-file")
	u.shared.addFlags(flags)
	a.conf.check(command, func(wrong *faults) {
		u.shared.check(func(name string) string { return source(command, name) }, wrong)
	})
	u.addServiceFlags(a, command)
	command.Long = command.Short + ".\n" + command.Long + upstreamHelp
}

// addPlaceFlags registers the flags that say where the credential is.
func (u *upstream) addPlaceFlags(command *cobra.Command) {
	flags := command.Flags()
	flags.StringVar(&u.credentialFile, "credential-file", "", "the `FILE` with the upstream's user name and password")
	flags.StringVar(&u.identityFile, "age-key-file", "",
		"the `FILE` with the age secret key that the credential file is encrypted with")
	settings(flags, "credential-file", "age-key-file")
}

// store opens the credential file, which need not be there yet.
func (u *upstream) store(a *app) (*credential.File, error) {
	if u.credentialFile == "" {
		return nil, usage("no credential file is named; nothing was done").
			hint("name it with --credential-file or LATCHKEY_CREDENTIAL_FILE")
	}
	config := credential.FileConfig{Path: u.credentialFile}
	if u.identityFile != "" {
		key, err := a.readIdentity(u.identityFile)
		if err != nil {
			return nil, err
		}
		config.Identity = key
	}
	store, err := credential.NewFile(config)
	if err != nil {
		return nil, usage("%w; nothing was done", err)
	}
	return store, nil
}

// online makes the keeper of the upstream. Its caller closes it.
func (u *upstream) online(ctx context.Context, a *app) (*tendedKeeper, error) {
	u.url = cmp.Or(u.url, wire.ProductionBaseURL)
	if _, err := u.store(a); err != nil { // better told before the API secret is asked for
		return nil, err
	}
	client, err := a.client(ctx, &u.endpoint)
	if err != nil {
		return nil, err
	}
	return u.keeper(ctx, a, client, a.showStep)
}

// offline makes a keeper for what sends nothing, and so needs no API key.
func (u *upstream) offline(ctx context.Context, a *app) (*tendedKeeper, error) {
	u.url = cmp.Or(u.url, wire.ProductionBaseURL)
	client, err := latchkey.NewClient(latchkey.Config{
		BaseURL: u.url, APIKey: "unused", APISecret: "unused", AllowPlaintext: u.plaintext, Now: a.clock,
		HTTPClient: &http.Client{Transport: &http.Transport{}}, // no proxy setting is in the way
	})
	if err != nil {
		return nil, usage("%s; nothing was done", err)
	}
	return u.keeper(ctx, a, client, nil)
}

func (u *upstream) keeper(
	ctx context.Context, a *app, client *latchkey.Client, onEvent func(keeper.Event),
) (*tendedKeeper, error) {
	store, err := u.store(a)
	if err != nil {
		return nil, err
	}
	state, done, err := u.state(ctx, a)
	if err != nil {
		return nil, err
	}
	k, err := keeper.New(keeper.Config{
		Upstream: client, State: state, OnEvent: onEvent, Log: slog.New(slog.DiscardHandler),
		Rotation: &keeper.Rotation{Store: store, Upstream: client},
	})
	if err != nil {
		done()
		return nil, fail(exitFailed, "%w", err)
	}
	return &tendedKeeper{k, done}, nil
}

func (u *upstream) statePath() string {
	path := cmp.Or(u.stateFile, u.credentialFile+".state")
	if absolute, err := filepath.Abs(path); err == nil {
		return absolute
	}
	return path
}
