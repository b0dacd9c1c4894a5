package keeper

import (
	"context"
	"errors"
	"time"

	"github.com/latchkey/latchkey"
)

// State is where Keepers that log in as one upstream user share one session and one
// guard: the goroutines of a program through a [MemoryState], the processes of a host and
// their restarts through a [FileState], the programs of many hosts through packages
// keeper/pgstate and keeper/redisstate. The saved data is opaque to it.
//
// All methods are safe for concurrent use. After an error it is not known what happened,
// and a Keeper does not log in.
type State interface {
	// Durable reports whether the saved data outlasts the program. Otherwise no password
	// is rotated.
	Durable() bool
	// Load returns the data that was saved last and the time of the latest Touch, each the
	// zero value if there was none. It does not wait for the lease.
	Load(ctx context.Context) (Saved, error)
	// Touch records that the session was used at the given time. A time before the recorded
	// one is ignored, unless the recorded one is in the future and the given one is within
	// a minute of now, because then a clock was put back. Touch needs no lease, and its
	// effect may be lost in a crash of the machine.
	Touch(ctx context.Context, at time.Time) error
	// Acquire waits until the lease is free, or ctx ends. The lease outlives ctx: the
	// implementation renews it until Release. It ends when its holder dies.
	Acquire(ctx context.Context) (Lease, error)
}

// Lease is the right to save. One Keeper at a time holds it, while it logs in.
type Lease interface {
	// Save replaces the saved data, which is durable when Save returns. If another holder
	// has saved, or got the lease, since this one was acquired, Save returns ErrLeaseLost
	// and changes nothing.
	Save(ctx context.Context, data latchkey.Secret) error
	// Release ends the lease. It must be called once.
	Release(ctx context.Context) error
}

// Saved is the content of a State.
type Saved struct {
	// Data contains the session token, among other things, so it must be kept where
	// secrets are kept.
	Data    latchkey.Secret
	LastUse time.Time
}

// ErrLeaseLost is the error of Lease.Save if another holder got the lease.
var ErrLeaseLost = errors.New("keeper: the lease on the state was lost")
