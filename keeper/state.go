package keeper

import (
	"context"
	"errors"
	"time"

	"github.com/latchkey/latchkey"
)

// State is where keepers that log in as one upstream user share one session and
// one guard: the goroutines of a program through a [MemoryState], the processes
// of a host and their restarts through a [FileState], the programs of many hosts
// through packages keeper/pgstate and keeper/redisstate. What is saved is opaque
// to it.
//
// All methods are safe for concurrent use. An error means that nothing is known
// to have happened; a keeper then does not log in.
type State interface {
	// Durable reports whether what is saved outlasts the program. A password is rotated
	// only then.
	Durable() bool
	// Load answers what was saved last and the latest Touch, each the zero value
	// if there was none. It does not wait for the holder of the lease.
	Load(ctx context.Context) (Saved, error)
	// Touch records that the session was used at a time. An earlier time than
	// the one recorded changes nothing, unless that one lies in the future, and this
	// one is of the last minute: then a clock was put back, and it is replaced. Touch
	// needs no lease, and may be lost in a crash of the machine.
	Touch(ctx context.Context, at time.Time) error
	// Acquire waits until nobody else holds the lease, or ctx ends. The lease
	// outlives ctx: the implementation renews it until Release. It ends by itself
	// when its holder dies.
	Acquire(ctx context.Context) (Lease, error)
}

// Lease is the right to save. One keeper at a time holds it, while it logs in.
type Lease interface {
	// Save replaces what is saved. It is durable when Save returns. It answers
	// ErrLeaseLost and changes nothing if anybody else has saved, or was given
	// the lease, since this one was acquired.
	Save(ctx context.Context, data latchkey.Secret) error
	// Release gives the lease back. It must be called once.
	Release(ctx context.Context) error
}

// Saved is the content of a State.
type Saved struct {
	// Data holds the session token, among other things: keep it where secrets
	// are kept.
	Data    latchkey.Secret
	LastUse time.Time
}

// ErrLeaseLost is the answer of Lease.Save when the lease has passed to another.
var ErrLeaseLost = errors.New("keeper: the lease on the state was lost")
