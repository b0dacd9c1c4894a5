package authority

import (
	"context"
	"runtime"
)

// admission bounds how many passwords are hashed at once and how many callers wait for that,
// and is fair among API clients. Hashing is the one expensive operation that callers without a
// valid password can start.
//
// An attempt goes through three stages: the queue of its user name (loginQueue); one of the
// few places, where it reserves a strike; and one of the slots, where the password is hashed.
// There are more places than slots, so that the next attempts reserve while others hash. There
// are only a few more, because an attempt with a reserved strike makes others of its name wait.
type admission struct {
	names     *loginQueue
	places    *turns
	slots     *turns
	operators *turns
}

// newAdmission resolves the defaults: one slot fewer than there are cores, so that a flood of
// logins leaves a core to everything else, and 64 waiting callers of each API client for each
// slot, about a second of work.
func newAdmission(slots, queue int) *admission {
	if slots <= 0 {
		slots = max(1, runtime.GOMAXPROCS(0)-1)
	}
	if queue <= 0 {
		queue = 64 * slots
	}
	return &admission{
		names: newLoginQueue(queue), places: newTurns(2*slots + 2), slots: newTurns(slots), operators: newTurns(1),
	}
}

// hash calls work in a slot, for a caller of the API client that has a place.
func (a *admission) hash(ctx context.Context, client string, work func()) error {
	return in(ctx, a.slots, client, work)
}

// hashAgain is hash for a caller of the API client that has given its place back.
func (a *admission) hashAgain(ctx context.Context, client string, work func()) (err error) {
	if placed := in(ctx, a.places, client, func() { err = a.hash(ctx, client, work) }); placed != nil {
		return placed
	}
	return err
}

// hashForOperator calls work in the slot of operators, which no API client can take.
func (a *admission) hashForOperator(ctx context.Context, work func()) error {
	return in(ctx, a.operators, "", work)
}

// in calls work when it is the client's turn. It returns an error that wraps ErrUnavailable
// if ctx ends before.
func in(ctx context.Context, t *turns, client string, work func()) error {
	if err := t.take(ctx, client); err != nil {
		return unavailable(err)
	}
	defer t.give()
	if err := ctx.Err(); err != nil {
		return unavailable(err) // both were ready; do not hash for a caller that left
	}
	work()
	return nil
}

// load returns the number of logins in progress.
func (a *admission) load() Load {
	hashing, waiting := a.slots.load()
	operators, more := a.operators.load()
	load := Load{Hashing: hashing + operators, Waiting: waiting + more}
	a.names.load(&load)
	return load
}
