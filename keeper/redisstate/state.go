// Package redisstate has the keepers of many hosts share one session, one guard
// and one rotation, in a Redis: a single one, behind Sentinel, or a Cluster.
//
//	client, err := rueidis.NewClient(rueidis.MustParseURL(os.Getenv("REDIS_URL")))
//	if err != nil { … }
//	state, err := redisstate.New(ctx, client, redisstate.Config{Name: "zbeeblebrox", Key: key})
//	if err != nil { … }
//	k, err := keeper.New(keeper.Config{State: state, …})
//
// One key has the state, and one keeper at a time a lease on it, while it logs in.
// The lease is renewed until it is given back, and ends 15 seconds after its
// holder died or was cut off. Whoever comes back after that changes nothing any
// more: each write is compared with the lease in the same script. What counts is
// the clock of Redis. The keepers themselves compare times that others of them
// have recorded, so their hosts' clocks should agree to a few seconds.
//
// # What Redis must not forget
//
// The count of failed logins is in the state, and in nothing else. A Redis that
// loses it has a password tried anew that was refused before, and so may lock the
// account in the end; a rotation that was not finished is lost with it, too. Out
// of the box Redis does lose it. It needs
//
//   - appendonly yes, or a restart takes everything back to the last snapshot, and
//     appendfsync always, or a crash of the machine loses the last second;
//   - maxmemory-policy noeviction, or one of the volatile-…, which spare keys
//     that do not expire, as this one does not;
//   - with replicas, Config.Replicas, or one that takes over may lack the last
//     writes. It makes that unlikely, not impossible: Redis does not promise that
//     the replica which takes over is one that confirmed.
//
// Package pgstate needs none of this: where there is a PostgreSQL, use that.
//
// The keys are named latchkey:keeper: and the state's name. Redis 5 or later is
// needed, and a user who may EVAL, TIME, HMGET, HGET and HSET, and WAIT for
// Config.Replicas.
package redisstate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/redis/rueidis"

	"github.com/latchkey/latchkey/keeper"
	"github.com/latchkey/latchkey/keeper/internal/sharedstate"
)

// Config says which state is shared. The first two fields are required.
type Config struct {
	// Name is the same for all who share a state, and another one for each
	// upstream user: a text of 200 bytes at most.
	Name string
	// Key encrypts what is saved, the session token among other things. It is the
	// same for all who share the state: 32 random bytes or more, not a password.
	Key []byte `json:"-"`
	// Replicas is how many replicas must have confirmed what is saved. While fewer
	// do, nothing can be saved, so no login is made. Default: 0.
	Replicas int
}

// Format implements fmt.Formatter, whatever the verb: the key is not shown.
func (c Config) Format(f fmt.State, _ rune) { _, _ = fmt.Fprintf(f, "redisstate.Config(%q)", c.Name) }

// State is a keeper.State in a Redis, for the keepers of any number of programs
// and hosts. Make it with New. It is safe for concurrent use.
//
// What is damaged, or was not made with the same key and name, is an error that
// says what to do. It is never overwritten, and no login is made as long as it is
// there. Nor is one made while Redis does not answer; a session that is there goes
// on being used.
type State struct{ shared *sharedstate.State }

var _ keeper.State = (*State)(nil)

// New answers the State of that name. It uses client as long as it is used
// itself, and does not close it.
//
// What is there is read once, so that a fault shows early. The error lists every
// fault of config, one to a line, or is that of Redis.
func New(ctx context.Context, client rueidis.Client, config Config) (*State, error) {
	return newState(ctx, client, config, sharedstate.TTL)
}

func newState(ctx context.Context, client rueidis.Client, config Config, ttl time.Duration) (*State, error) {
	err := sharedstate.Check(config.Name, config.Key)
	if config.Replicas < 0 {
		err = errors.Join(err, errors.New("Config.Replicas is negative"))
	}
	if err != nil {
		return nil, fmt.Errorf("redisstate: %w", err)
	}
	stored := row{client, keyPrefix + config.Name, config.Replicas}
	shared, err := sharedstate.New(ctx, stored, sharedstate.Config{
		Name: config.Name, Key: config.Key, TTL: ttl, Where: "Redis", Remove: "DEL " + keyPrefix + "…",
	})
	if err != nil {
		return nil, err
	}
	return &State{shared}, nil
}

// Durable returns true.
func (s *State) Durable() bool { return true }

// Load implements keeper.State. It asks the master, also where the client has
// replicas asked.
func (s *State) Load(ctx context.Context) (keeper.Saved, error) { return s.shared.Load(ctx) }

// Touch implements keeper.State. It writes only what is later than what is there.
func (s *State) Touch(ctx context.Context, at time.Time) error { return s.shared.Touch(ctx, at) }

// Acquire implements keeper.State. While another has the lease, it looks 10 to 20
// times a second whether it is free.
func (s *State) Acquire(ctx context.Context) (keeper.Lease, error) { return s.shared.Acquire(ctx) }

// Format implements fmt.Formatter, whatever the verb: the key is not shown.
func (s *State) Format(f fmt.State, verb rune) {
	if s == nil {
		_, _ = io.WriteString(f, "redisstate.State(nil)")
		return
	}
	s.shared.Format(f, verb)
}
