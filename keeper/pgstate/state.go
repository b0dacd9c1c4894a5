// Package pgstate has the keepers of many hosts share one session, one guard and
// one rotation, in a PostgreSQL database:
//
//	pool, err := pgxpool.New(ctx, os.Getenv("DATABASE_URL"))
//	if err != nil { … }
//	state, err := pgstate.New(ctx, pool, pgstate.Config{Name: "zbeeblebrox", Key: key})
//	if err != nil { … }
//	k, err := keeper.New(keeper.Config{State: state, …})
//
// One row has the state, and one keeper at a time a lease on it, while it logs in.
// The lease is renewed until it is given back, and ends 15 seconds after its
// holder died or was cut off. Whoever comes back after that changes nothing any
// more: each write is compared with the lease in the same statement.
//
// Each call is one statement, or two, outside of a transaction: no prepared
// statements, session settings, advisory locks or notifications. So it works
// behind PgBouncer in transaction mode. Nothing in them is missing in CockroachDB
// and YugabyteDB, or fails where transactions are serializable; but it is with
// PostgreSQL that this package is tested. What counts is the database's clock. The
// keepers themselves compare times that others of them have recorded, so their
// hosts' clocks should agree to a few seconds.
//
// What was saved is there for good when the database says so: it must not be told
// otherwise (synchronous_commit = off), and a replica that takes over must not lag
// behind (synchronous_standby_names), or else failed logins may be forgotten.
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

// Config says which state is shared. Both fields are required.
type Config struct {
	// Name is the same for all who share a state, and another one for each
	// upstream user: a text of 200 bytes at most.
	Name string
	// Key encrypts what is saved, the session token among other things. It is the
	// same for all who share the state: 32 random bytes or more, not a password.
	Key []byte `json:"-"`
}

// Format implements fmt.Formatter, whatever the verb: the key is not shown.
func (c Config) Format(f fmt.State, _ rune) { _, _ = fmt.Fprintf(f, "pgstate.Config(%q)", c.Name) }

// State is a keeper.State in a PostgreSQL database, for the keepers of any number
// of programs and hosts. Make it with New. It is safe for concurrent use.
//
// A row that is damaged, or was not made with the same key and name, is an error
// that says what to do. It is never overwritten, and no login is made as long as it
// is there. Nor is one made while the database does not answer; a session that is
// there goes on being used.
type State struct{ shared *sharedstate.State }

var _ keeper.State = (*State)(nil)

// New answers the State of that name. It uses pool as long as it is used itself,
// and does not close it. The pool's user needs SELECT, INSERT and UPDATE on the
// table latchkey_keeper_state, and CREATE on its schema unless the table is there
// already (see [Table]). The pool must lead to the primary, never to a replica.
//
// What is there is read once, so that a fault shows early. The error lists every
// fault of config, one to a line, or is the database's.
func New(ctx context.Context, pool *pgxpool.Pool, config Config) (*State, error) {
	return newState(ctx, pool, config, sharedstate.TTL)
}

func newState(ctx context.Context, pool *pgxpool.Pool, config Config, ttl time.Duration) (*State, error) {
	if err := sharedstate.Check(config.Name, config.Key); err != nil {
		return nil, fmt.Errorf("pgstate: %w", err)
	}
	if err := makeTable(ctx, pool); err != nil {
		return nil, fmt.Errorf("pgstate: the table %s: %w", tableName, err)
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

// Touch implements keeper.State. It writes only what is later than what is there.
func (s *State) Touch(ctx context.Context, at time.Time) error { return s.shared.Touch(ctx, at) }

// Acquire implements keeper.State. While another has the lease, it looks 10 to 20
// times a second whether it is free.
func (s *State) Acquire(ctx context.Context) (keeper.Lease, error) { return s.shared.Acquire(ctx) }

// Format implements fmt.Formatter, whatever the verb: the key is not shown.
func (s *State) Format(f fmt.State, verb rune) {
	if s == nil {
		_, _ = io.WriteString(f, "pgstate.State(nil)")
		return
	}
	s.shared.Format(f, verb)
}
