// Package sharedstate is what the states for many hosts have in common, whatever database
// they are in: the encryption of the saved data, the wait for the lease, its renewal, and
// the epoch that distinguishes a late write from one in time.
package sharedstate

import (
	"context"
	"time"
)

// Store is one row of a database. Each method is one atomic step, and may be repeated: a
// State repeats a call whose response was lost. The time is that of the database, so that
// no clock of a replica decides anything.
type Store interface {
	// Load returns the row as the last write left it, or the zero Row if there is none.
	Load(ctx context.Context) (Row, error)
	// Touch sets the last use, unless the recorded one is later. A recorded one that is
	// more than a minute in the future is replaced if at is within a minute of now.
	Touch(ctx context.Context, at time.Time) error
	// Take gives the lease to holder for ttl, and returns the new epoch, which is one more
	// than any before. It returns zero while another holder has the lease. If holder has it
	// already, nothing changes and the result is the recorded epoch. A lease that ends later
	// than ttl from now is shortened to that.
	Take(ctx context.Context, holder string, ttl time.Duration) (epoch int64, err error)
	// Save replaces the sealed data, records the claim's epoch, and extends the lease to ttl
	// from now, if the holder still has it and no later epoch is recorded. Otherwise it
	// changes nothing and returns false.
	Save(ctx context.Context, claim Claim, sealed []byte, ttl time.Duration) (bool, error)
	// Extend extends the lease to ttl from now, or ends it if ttl is zero, if the holder
	// still has it. Otherwise it changes nothing and returns false.
	Extend(ctx context.Context, holder string, ttl time.Duration) (bool, error)
}

// Row is the content of a Store. Sealed is nil until data was saved.
type Row struct {
	Sealed  []byte
	LastUse time.Time
}

// Claim fences a write. Holder is random and unique for each lease, so that two leases
// differ even if a database gave both in the same epoch because it had lost the first one.
// Epoch grows with every lease and every write, so that a write which arrives late cannot
// undo the next one.
type Claim struct {
	Holder string
	Epoch  int64
}
