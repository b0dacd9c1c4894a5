package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"

	"github.com/spf13/pflag"

	"github.com/latchkey/latchkey/internal/store/postgres"
	"github.com/latchkey/latchkey/keeper"
	"github.com/latchkey/latchkey/keeper/pgstate"
)

// stateName is under what the replicas of a gateway share the state of an upstream's
// user.
func stateName(url, user string) string {
	sum := sha256.Sum256([]byte(url + "\x00" + user))
	return "upstream " + hex.EncodeToString(sum[:])
}

// sharedDatabase is where replicas of a gateway have their state, for commands that
// look after it.
type sharedDatabase struct {
	url     string
	keyFile string
}

// addFlags registers the flags that name it, as serve has them.
func (d *sharedDatabase) addFlags(flags *pflag.FlagSet) {
	flags.StringVar(&d.url, "database", "", "the `DATABASE` that the replicas of a gateway share, postgres://…, which has the state then")
	flags.StringVar(&d.keyFile, "key-file", "", "with --database: the `FILE` with their server key")
	settings(flags, "database", "key-file")
}

// check answers what is wrong with them. The embedded database, which serve has the
// same setting for, holds no such state.
func (d *sharedDatabase) check(source func(string) string, wrong *faults) {
	(&storeFlags{database: d.url}).checkStores(source, wrong)
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
		return nil, nil, usage("the state in the database is encrypted under the server key; nothing was done; name its file with --key-file")
	}
	key, err := (&storeFlags{keyFile: u.shared.keyFile}).readKey()
	if err != nil {
		return nil, nil, err
	}
	db, err := postgres.Open(ctx, postgres.Options{URL: u.shared.url})
	if err != nil {
		return nil, nil, fail(exitFailed, "%w; nothing was done", err)
	}
	done = func() { _ = db.Close(ctx) } // nothing waits to be written
	if state, err = pgstate.New(ctx, db.Pool(), pgstate.Config{Name: stateName(u.url, c.User), Key: key}); err != nil {
		done()
		return nil, nil, fail(exitFailed, "%w", err)
	}
	return state, done, nil
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
