// Package pgstate lets the Keepers of many hosts share one session, one guard and one
// rotation in a PostgreSQL database:
//
//	pool, err := pgxpool.New(ctx, os.Getenv("DATABASE_URL"))
//	if err != nil { … }
//	state, err := pgstate.New(ctx, pool, pgstate.Config{Name: "zbeeblebrox", Key: key})
//	if err != nil { … }
//	k, err := keeper.New(keeper.Config{State: state, …})
//
// The state is one row. One Keeper at a time has a lease on it, while it logs in. The lease
// is renewed until it is released, and ends 15 seconds after its holder died or lost its
// connection. After that the old holder can change nothing: each write checks the lease in
// the same statement.
//
// Each call is one or two statements outside a transaction, without prepared statements,
// session settings, advisory locks or notifications. So it works behind PgBouncer in
// transaction mode. CockroachDB and YugabyteDB have everything that the statements use, and
// serializable transactions do no harm, but the package is tested with PostgreSQL only. The
// database's clock decides about the lease. The Keepers compare times that other Keepers
// have recorded, so the clocks of their hosts should agree to a few seconds.
//
// A commit must be durable: with synchronous_commit = off, or if a replica that lags behind
// (see synchronous_standby_names) becomes the primary, failed logins may be forgotten.
package pgstate

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/latchkey/latchkey/keeper"
	"github.com/latchkey/latchkey/keeper/internal/sharedstate"
)

// Config names the state that is shared. Both fields are required.
type Config struct {
	// Name is the same for all programs that share a state, and different for each upstream
	// user. It has at most 200 bytes.
	Name string
	// Key encrypts the saved data, which contains the session token among other things. It is
	// the same for all programs that share the state: at least 32 random bytes, not a
	// password.
	Key []byte `json:"-"`
}

// Format implements fmt.Formatter. For every verb it writes the name, and not the key.
func (c Config) Format(f fmt.State, _ rune) { _, _ = fmt.Fprintf(f, "pgstate.Config(%q)", c.Name) }

// State is a keeper.State in a PostgreSQL database, for the Keepers of any number of programs
// and hosts. It is created with New. It is safe for concurrent use.
//
// A row that is damaged, or was not written with the same key and name, is an error. It is
// never overwritten, and no login is made as long as it is there. While the database does
// not respond, no login is made either, and a live session remains in use.
type State struct{ shared *sharedstate.State }

var _ keeper.State = (*State)(nil)

// New returns the State with the name in config. The State uses pool, and does not close it.
// The pool's user needs SELECT, INSERT and UPDATE on the table latchkey_keeper_state, and
// CREATE on its schema unless the table exists (see [Table]). The pool must connect to the
// primary, never to a replica.
//
// New reads the state, so that an unusable one is an error at once. The error lists every
// fault of config, one per line, or is the database's.
func New(ctx context.Context, pool *pgxpool.Pool, config Config) (*State, error) {
	return newState(ctx, pool, config, sharedstate.TTL)
}

func newState(ctx context.Context, pool *pgxpool.Pool, config Config, ttl time.Duration) (*State, error) {
	if err := sharedstate.Check(config.Name, config.Key); err != nil {
		return nil, fmt.Errorf("pgstate: %w", err)
	}
	if err := makeTable(ctx, pool); err != nil {
		return nil, fmt.Errorf("pgstate: table %s: %w", tableName, err)
	}
	shared, err := sharedstate.New(ctx, row{pool, config.Name}, sharedstate.Config{
		Name: config.Name, Key: config.Key, TTL: ttl, Where: "the table " + tableName,
		Remove: "DELETE FROM " + tableName + " WHERE name = …",
	})
	if err != nil {
		return nil, err
	}
	return &State{shared}, nil
}

// Durable returns true.
func (s *State) Durable() bool { return true }

// Load implements keeper.State.
func (s *State) Load(ctx context.Context) (keeper.Saved, error) { return s.shared.Load(ctx) }

// Touch implements keeper.State. It writes only a later time than the recorded one.
func (s *State) Touch(ctx context.Context, at time.Time) error { return s.shared.Touch(ctx, at) }

// Acquire implements keeper.State. While another holder has the lease, it checks 10 to 20
// times a second whether the lease is free.
func (s *State) Acquire(ctx context.Context) (keeper.Lease, error) { return s.shared.Acquire(ctx) }

// Format implements fmt.Formatter. For every verb it writes the name, and not the key.
func (s *State) Format(f fmt.State, verb rune) {
	if s == nil {
		_, _ = io.WriteString(f, "pgstate.State(nil)")
		return
	}
	s.shared.Format(f, verb)
}
