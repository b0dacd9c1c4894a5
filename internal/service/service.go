// Package service assembles the service from its parts: the stores, the rules, the HTTP
// server, the administration API, the gateway with its keeper, and the simulation. A
// Config has plain values. Open opens everything and listens, Run serves, Close closes.
//
// The command line maps its flags to a Config. Other programs that need a whole service
// use this package as well, so that there is only one place where the parts meet.
package service

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/latchkey/latchkey/internal/admin"
	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/gateway"
	"github.com/latchkey/latchkey/internal/hashworker"
	"github.com/latchkey/latchkey/internal/server"
	"github.com/latchkey/latchkey/internal/simulate"
)

// Config configures a Service.
type Config struct {
	Store

	// Hash is the cost of a password hash. HashSlots is how many passwords are hashed at
	// once, and HashQueue how many logins of one API client wait for a slot. Zero values: the
	// defaults of package authority.
	Hash                 authority.HashParams
	HashSlots, HashQueue int

	// Seed, unless nil, is added to a database without API clients.
	Seed *simulate.Seed
	// Simulate runs a simulation of the service, in memory, which begins with Seed.
	Simulate bool

	Listen         string // address of the API
	LocalSocket    string // Unix socket that serves the API as well; "": none
	TLSCert        string // PEM file of the certificate chain; "": plain HTTP
	TLSKey         string // PEM file of its key
	TLSSelfSigned  bool   // create a certificate for development, in the data directory
	MaxConnections int    // as server.Config
	// MaxConnectionsPerAddress is as in server.Config.
	MaxConnectionsPerAddress int
	TrustLocal               string // as server.Config
	TrustedProxies           []netip.Prefix

	// Upstream, unless nil, makes the service a gateway.
	Upstream *Upstream

	Collectors []prometheus.Collector // added to the metrics
	Version    string
	Now        func() time.Time // nil: time.Now
	Log        *slog.Logger     // nil: slog.Default()
}

// Service is an open service. Its fields are set by Open.
type Service struct {
	URL          string // how clients on this machine reach it
	Address      net.Addr
	Fingerprint  string // SHA-256 of a certificate that TLSSelfSigned created
	Seeded       bool   // Seed was added
	Empty        bool   // there are no users, or no API clients
	UnknownLocal bool   // the user TrustLocal does not exist
	UpstreamUser string // the user at the upstream; "" if there is no upstream

	server   *server.Server
	api      net.Listener
	admin    net.Listener // nil without a data directory
	further  []net.Listener
	closers  []func() error // in the order of opening
	created  leftovers
	keep     string // a file of created that must stay
	finished bool   // Run was called
}

// Open opens a service and listens. If it fails, it removes what it created.
func Open(ctx context.Context, config Config) (_ *Service, err error) {
	if config.Log == nil {
		config.Log = slog.Default()
	}
	if config.Now == nil {
		config.Now = time.Now
	}
	s := &Service{created: config.missing()}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	parts := server.Config{
		Log: config.Log, Version: config.Version, MaxConnections: config.MaxConnections,
		MaxConnectionsPerAddress: config.MaxConnectionsPerAddress,
		TrustLocal:               config.TrustLocal, TrustedProxies: config.TrustedProxies, Collectors: config.Collectors,
	}
	if config.Simulate {
		err = s.openSimulation(ctx, &config, &parts)
	} else {
		err = s.openRules(ctx, &config, &parts)
	}
	if err != nil {
		return nil, err
	}
	if err := s.listen(ctx, &config, &parts); err != nil {
		return nil, err
	}
	s.server = server.New(parts)
	return s, nil
}

// openSimulation adds a simulation, whose delays end with ctx.
func (s *Service) openSimulation(ctx context.Context, config *Config, parts *server.Config) error {
	var seed simulate.Seed
	if config.Seed != nil {
		seed = *config.Seed
	}
	simulation, err := simulate.New(ctx, simulate.Config{
		Seed: seed, Policy: config.Policy, Version: config.Version, Log: config.Log,
		Switches: simulate.Switches{KeepSessionsOnReset: config.Policy.KeepSessionsOnReset},
	})
	if err != nil {
		return failed("%w; nothing was started", err)
	}
	forget := context.AfterFunc(ctx, simulation.Release)
	s.closers = append(s.closers, func() error {
		forget()
		closing, cancel := context.WithTimeout(context.Background(), closeTimeout)
		defer cancel()
		return simulation.Close(closing)
	})
	s.Seeded = config.Seed != nil
	parts.Front, parts.Admin = simulation.Front(), simulation.Admin()
	return nil
}

// openRules adds the database with the rules, and the gateway.
func (s *Service) openRules(ctx context.Context, config *Config, parts *server.Config) error {
	rules, err := s.openDatabase(ctx, config)
	if err != nil {
		return err
	}
	s.closers = append(s.closers, rules.Close)
	parts.Authority, parts.Ready, parts.WriteFailure = rules.Authority, rules.Database.ready, rules.Database.writes
	parts.Admin = admin.NewHandler(rules.Authority, rules.Database.Name, config.Log)
	parts.Collectors = append(parts.Collectors, rules.Database.metrics...)
	if s.Seeded, err = seed(ctx, rules, config.Seed); err != nil {
		return err
	}
	if s.Empty, err = isEmpty(ctx, rules); err != nil {
		return err
	}
	if config.TrustLocal != "" {
		_, err := rules.Account(ctx, config.TrustLocal)
		s.UnknownLocal = errors.Is(err, authority.ErrNotFound)
	}
	if config.Upstream == nil {
		return nil
	}
	up, err := config.Upstream.open(ctx, config, rules)
	if err != nil {
		return err
	}
	s.UpstreamUser = up.user
	s.closers = append(s.closers, func() error {
		ending, cancel := context.WithTimeout(context.Background(), closeTimeout)
		defer cancel()
		if err := up.close(ending); err != nil {
			config.Log.Warn("the upstream's session could not be stored in time", "error", err)
		}
		return nil
	})
	parts.Forward, parts.HostNamed, parts.Notice = up.gateway, up.gateway.HostNamed, up.gateway.Notice
	parts.Collectors = append(parts.Collectors, gateway.Metrics(up.keeper))
	return nil
}

// openDatabase opens the database and reads or creates the server key.
func (s *Service) openDatabase(ctx context.Context, config *Config) (*Rules, error) {
	if config.Data != "" {
		if err := makeDataDir(config.Data); err != nil {
			return nil, err
		}
	}
	costs := authority.Config{
		Hash: config.Hash, HashSlots: config.HashSlots, HashQueue: config.HashQueue, Log: config.Log,
	}
	if worker := hashworker.New(config.Log); worker != nil {
		costs.Sum = worker.Sum
		s.closers = append(s.closers, worker.Close)
	}
	if !config.Shared() {
		db, err := config.openEmbedded(ctx, config.Now, config.Log)
		if err != nil {
			return nil, err
		}
		key, err := config.serverKey(func() (bool, error) { return db.hasBeenUsed(ctx) })
		return config.apply(db, key, costs, err)
	}
	key, err := config.serverKey(func() (bool, error) { return false, nil }) // the replicas agree on it, below
	if err != nil {
		return nil, err
	}
	db, err := config.openShared(ctx, !config.Uncached, config.Now, config.Log)
	if err != nil {
		return nil, err
	}
	if err = db.agreeOnKey(ctx, key, config.NewKey); err == nil {
		s.keep = config.KeyPath()
	}
	return config.apply(db, key, costs, err)
}

// seed adds a user and an API client to a database without API clients, and reports
// whether it did. The client is added last, so that the next start completes one that was
// interrupted.
func seed(ctx context.Context, rules *Rules, s *simulate.Seed) (bool, error) {
	if s == nil {
		return false, nil
	}
	clients, err := rules.Clients(ctx)
	if err != nil {
		return false, failed("%w; nothing was started", err)
	}
	if len(clients) > 0 {
		return false, nil
	}
	origin := authority.Origin{Address: "demo"}
	err = rules.AddKnownUser(ctx, s.User, s.Password, origin)
	if err == nil || errors.Is(err, authority.ErrExists) {
		credentials := authority.Credentials{Key: s.APIKey, Secret: s.APISecret}
		err = rules.AddKnownClient(ctx, "demo", credentials, origin)
	}
	if err != nil {
		return false, failed("the demo's accounts cannot be added: %w; nothing was started", err)
	}
	return true, nil
}

// isEmpty reports whether there are no users, or no API clients.
func isEmpty(ctx context.Context, rules *Rules) (bool, error) {
	users, err := rules.Accounts(ctx, authority.UserQuery{Limit: 1})
	if err != nil {
		return false, failed("%w; nothing was started", err)
	}
	clients, err := rules.Clients(ctx)
	if err != nil {
		return false, failed("%w; nothing was started", err)
	}
	return len(users) == 0 || len(clients) == 0, nil
}

// Run serves until ctx ends and the requests in progress are finished. Call it once.
func (s *Service) Run(ctx context.Context) error {
	s.finished = true
	return s.server.Run(ctx, s.api, s.admin, s.further...)
}

// Close closes everything. If Run was not called, it also removes the files that Open
// created.
func (s *Service) Close() error {
	var errs []error
	for i := len(s.closers) - 1; i >= 0; i-- {
		errs = append(errs, s.closers[i]())
	}
	s.closers = nil
	if !s.finished {
		s.created.remove(s.keep)
		s.created = leftovers{}
	}
	return errors.Join(errs...)
}
