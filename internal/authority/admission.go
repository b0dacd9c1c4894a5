package authority

import (
	"context"
	"runtime"
)

// hashSlots bounds how many hashes run at once and how many callers wait for a slot. Hashing
// is the one expensive operation that clients without credentials can start.
type hashSlots struct {
	running chan struct{}
	queued  chan struct{} // running and waiting together
}

// newHashSlots resolves the defaults: one slot fewer than there are cores, so that a flood
// of logins leaves a core to everything else, and 64 waiting callers for each slot, about a
// second of work.
func newHashSlots(slots, queue int) *hashSlots {
	if slots <= 0 {
		slots = max(1, runtime.GOMAXPROCS(0)-1)
	}
	if queue <= 0 {
		queue = 64 * slots
	}
	return &hashSlots{running: make(chan struct{}, slots), queued: make(chan struct{}, slots+queue)}
}

// run calls work in a slot. It returns ErrOverloaded at once if the queue is full, and the
// error of ctx if that ends before a slot is free.
func (s *hashSlots) run(ctx context.Context, work func()) error {
	select {
	case s.queued <- struct{}{}:
		defer func() { <-s.queued }()
	default:
		return ErrOverloaded
	}
	select {
	case s.running <- struct{}{}:
		defer func() { <-s.running }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := ctx.Err(); err != nil {
		return err // both were ready; do not hash for a caller that left
	}
	work()
	return nil
}
