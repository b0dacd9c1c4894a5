// Package redisstate lets the Keepers of many hosts share one session, one guard and one
// rotation in Redis: a single server, behind Sentinel, or a Cluster.
//
//	client, err := rueidis.NewClient(rueidis.MustParseURL(os.Getenv("REDIS_URL")))
//	if err != nil { … }
//	state, err := redisstate.New(ctx, client, redisstate.Config{Name: "zbeeblebrox", Key: key})
//	if err != nil { … }
//	k, err := keeper.New(keeper.Config{State: state, …})
//
// The state is one key. One Keeper at a time has a lease on it, while it logs in. The lease is
// renewed until it is released, and ends 15 seconds after its holder died or lost its
// connection. After that the old holder can change nothing: each write checks the lease in
// the same script. The clock of Redis decides about the lease. The Keepers compare times that
// other Keepers have recorded, so the clocks of their hosts should agree to a few seconds.
//
// # What Redis must not forget
//
// The count of failed logins is kept in the state only. If Redis loses it, a password that was
// refused before is tried again, which may lock the account in the end. An unfinished rotation
// is lost as well. With its defaults, Redis does lose it. It needs
//
//   - appendonly yes, because otherwise a restart goes back to the last snapshot, and
//     appendfsync always, because otherwise a crash of the machine loses the last second;
//   - maxmemory-policy noeviction or one of the volatile-… policies, which keep keys that
//     do not expire;
//   - with replicas, Config.Replicas, because otherwise a replica that becomes the master may
//     lack the last writes. It makes that unlikely, not impossible: Redis does not promise
//     that a replica which has confirmed becomes the master.
//
// Package pgstate needs none of this. Prefer it if there is a PostgreSQL database.
//
// The key is latchkey:keeper: and the state's name. Redis 5 or later is required, and a user
// with the commands EVAL, TIME, HMGET, HGET and HSET, and WAIT for Config.Replicas.
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

// Config names the state that is shared. The first two fields are required.
type Config struct {
	// Name is the same for all programs that share a state, and different for each upstream
	// user. It has at most 200 bytes.
	Name string
	// Key encrypts the saved data, which contains the session token among other things. It is
	// the same for all programs that share the state: at least 32 random bytes, not a
	// password.
	Key []byte `json:"-"`
	// Replicas is how many replicas must confirm a save. While fewer do, nothing can be saved,
	// so no login is made. Default: 0.
	Replicas int
}

// Format implements fmt.Formatter. For every verb it writes the name, and not the key.
func (c Config) Format(f fmt.State, _ rune) { _, _ = fmt.Fprintf(f, "redisstate.Config(%q)", c.Name) }

// State is a keeper.State in Redis, for the Keepers of any number of programs and hosts. It is
// created with New. It is safe for concurrent use.
//
// A state that is damaged, or was not written with the same key and name, is an error. It is
// never overwritten, and no login is made as long as it is there. While Redis does not
// respond, no login is made either, and a live session remains in use.
type State struct{ shared *sharedstate.State }

var _ keeper.State = (*State)(nil)

// New returns the State with the name in config. The State uses client, and does not close it.
//
// New reads the state, so that an unusable one is an error at once. The error lists every
// fault of config, one per line, or is that of Redis.
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

// Load implements keeper.State. It reads from the master, even if the client sends other
// reads to replicas.
func (s *State) Load(ctx context.Context) (keeper.Saved, error) { return s.shared.Load(ctx) }

// Touch implements keeper.State. It writes only a later time than the recorded one.
func (s *State) Touch(ctx context.Context, at time.Time) error { return s.shared.Touch(ctx, at) }

// Acquire implements keeper.State. While another holder has the lease, it checks 10 to 20
// times a second whether the lease is free.
func (s *State) Acquire(ctx context.Context) (keeper.Lease, error) { return s.shared.Acquire(ctx) }

// Format implements fmt.Formatter. For every verb it writes the name, and not the key.
func (s *State) Format(f fmt.State, verb rune) {
	if s == nil {
		_, _ = io.WriteString(f, "redisstate.State(nil)")
		return
	}
	s.shared.Format(f, verb)
}
