package cli

import (
	"context"

	"github.com/spf13/pflag"

	"github.com/latchkey/latchkey/internal/service"
	"github.com/latchkey/latchkey/internal/store/postgres"
	"github.com/latchkey/latchkey/keeper"
)

// sharedDatabase is where replicas of a gateway have their state, for commands that
// look after it.
type sharedDatabase struct {
	url     string
	keyFile string
}

// addFlags registers the flags that name it, as serve has them.
func (d *sharedDatabase) addFlags(flags *pflag.FlagSet) {
	flags.StringVar(&d.url, "database", "", "the `DATABASE` of the replicas of a gateway, postgres://…, which then "+
		"holds the state")
	flags.StringVar(&d.keyFile, "key-file", "", "with --database: the `FILE` with their server key")
	settings(flags, "database", "key-file")
}

// check adds the mistakes in the flags to wrong. The embedded database, for which serve
// has the same setting, holds no such state.
func (d *sharedDatabase) check(source func(string) string, wrong *faults) {
	(&storeFlags{Store: service.Store{Database: d.url}}).checkStores(source, wrong)
}

// isShared reports whether the state is in the database rather than in a file.
func (u *upstream) isShared() bool { return postgres.IsURL(u.shared.url) && u.stateFile == "" }

// stateIn names the place of the state to people.
func (u *upstream) stateIn() string {
	if u.isShared() {
		return postgres.RedactURL(u.shared.url)
	}
	return u.statePath()
}

// state opens the state of the account; done gives it up.
func (u *upstream) state(ctx context.Context, a *app) (state keeper.State, done func(), err error) {
	if !u.isShared() {
		if state, err = keeper.NewFileState(u.statePath()); err != nil {
			return nil, nil, fail(exitFailed, "%w", err)
		}
		return state, func() {}, nil
	}
	c, err := u.load(ctx, a)
	if err != nil {
		return nil, nil, err
	}
	if u.shared.keyFile == "" {
		return nil, nil, usage("the state in the database is encrypted under the server key; nothing was done").
			hint("name the file of the key with --key-file")
	}
	shared := service.Store{Database: u.shared.url, KeyFile: u.shared.keyFile}
	return shared.OpenSharedState(ctx, u.url, c.User)
}

// tendedKeeper gives its state up when it is closed.
type tendedKeeper struct {
	*keeper.Keeper

	done func()
}

func (k *tendedKeeper) Close(ctx context.Context) error {
	defer k.done()
	return k.Keeper.Close(ctx)
}
