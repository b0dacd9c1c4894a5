// Package sharedstate is what the states of many hosts have in common, whatever
// database they are in: the seal on what is kept there, waiting for the lease,
// its renewal, and the epoch by which a late write is told from one in time.
package sharedstate

import (
	"context"
	"time"
)

// Store is one row of a database. Each method is one atomic step there, and does
// no harm when it is done twice: State repeats a call whose answer was lost. Time
// is that of the database, so that no clock of a replica decides anything.
type Store interface {
	// Load answers the row as the last write left it; the zero Row if there is none.
	Load(ctx context.Context) (Row, error)
	// Touch sets the last use, unless the recorded one is as late. One that lies more
	// than a minute in the future gives way to one of now, to a minute.
	Touch(ctx context.Context, at time.Time) error
	// Take gives the lease to holder for ttl, and answers the new epoch, which is
	// one more than any before. Zero is the answer while somebody else has it. To
	// whoever has it already, nothing changes and the epoch is that on record. Where
	// the lease ends later than ttl from now, it is shortened to that.
	Take(ctx context.Context, holder string, ttl time.Duration) (epoch int64, err error)
	// Save replaces what is sealed, records the claim's epoch, and has the lease
	// begin anew, if the holder still has it and no later epoch is on record.
	// Otherwise it changes nothing and answers false.
	Save(ctx context.Context, claim Claim, sealed []byte, ttl time.Duration) (bool, error)
	// Extend has the lease begin anew, or gives it back if ttl is zero, if the
	// holder still has it. Otherwise it changes nothing and answers false.
	Extend(ctx context.Context, holder string, ttl time.Duration) (bool, error)
}

// Row is what a Store keeps. Sealed is nil as long as nothing was saved.
type Row struct {
	Sealed  []byte
	LastUse time.Time
}

// Claim is what fences a write. Holder is random, and another one for each lease,
// so that two leases differ even if a database gave both in the same epoch because
// it had lost the first. Epoch grows with every lease and every write, so that a
// write whose answer was not waited for cannot undo the next one.
type Claim struct {
	Holder string
	Epoch  int64
}
