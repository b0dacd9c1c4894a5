package cli

import (
	"context"
	"errors"
	"log/slog"
	"runtime/debug"

	"github.com/latchkey/latchkey/internal/admin"
	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/server"
	"github.com/latchkey/latchkey/internal/simulate"
)

// backend is what `serve` puts behind its listeners.
type backend struct {
	server.Config
	opened *service // nil for a simulation
	seeded bool     // the demo's accounts are there to be told about
	empty  bool     // nobody could use the service yet
	noUser bool     // the user of --trust-local does not exist yet
	close  func() error
}

// backend opens the service that the flags ask for.
func (a *app) backend(ctx context.Context, f *serveFlags, log *slog.Logger) (*backend, error) {
	b := &backend{Config: server.Config{Log: log, Version: buildVersion(debug.ReadBuildInfo()), MaxConnections: f.maxConnections}}
	if f.simulate {
		return b, b.simulate(ctx, f)
	}
	opened, err := f.open(ctx, f.hash(), a.Now, log)
	if err != nil {
		return nil, err
	}
	b.opened, b.Authority, b.Ready, b.close = opened, opened.Authority, opened.stores.ready, opened.close
	b.Collectors = opened.stores.metrics
	b.Admin = admin.NewHandler(opened.Authority, opened.stores.name, log)
	b.WriteFailure = opened.stores.writes
	b.seeded, err = a.seed(ctx, f, opened.Authority)
	if err == nil {
		b.empty, err = isEmpty(ctx, opened.Authority)
	}
	if err == nil && f.trustLocal != "" {
		_, missing := opened.Account(ctx, f.trustLocal)
		b.noUser = errors.Is(missing, authority.ErrNotFound)
	}
	if err != nil {
		return nil, errors.Join(err, b.close())
	}
	return b, nil
}

// simulate makes it a simulation, which has the demo's accounts and ends its
// delays when ctx does.
func (b *backend) simulate(ctx context.Context, f *serveFlags) error {
	simulation, err := simulate.New(ctx, simulate.Config{
		Seed:     simulate.Seed{APIKey: demoKey, APISecret: demoSecret, User: demoUser, Password: demoPassword},
		Policy:   f.policy,
		Switches: simulate.Switches{KeepSessionsOnReset: f.policy.KeepSessionsOnReset},
		Version:  b.Version, Log: b.Log,
	})
	if err != nil {
		return fail(exitFailed, "%w; nothing was started", err)
	}
	forget := context.AfterFunc(ctx, simulation.Release)
	b.Front, b.Admin, b.seeded = simulation.Front(), simulation.Admin(), true
	b.close = func() error {
		forget()
		closing, cancel := context.WithTimeout(context.Background(), closeTimeout)
		defer cancel()
		return simulation.Close(closing)
	}
	return nil
}
