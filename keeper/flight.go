package keeper

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/keeper/internal/ledger"
)

// patience is how long a request waits for the renewal of a token that another request
// has marked as refused, before it tries that token itself.
const patience = 2 * time.Second

// renewer holds one value for any number of callers and renews it: one flight at a
// time, and all callers share its success and its failure.
type renewer[T any] struct {
	current atomic.Pointer[T]
	usable  func(*T) bool // whether it may be handed out; a nil one may not
	due     func(*T) bool // whether a usable one should be renewed in the background
	// suspect reports whether one that was refused, and so is not usable, may be valid.
	suspect func(*T) bool
	// fetch returns a new value. waiting is set during the wait after a failure. Then
	// fetch sends nothing, and returns errStillWaiting unless it has found a value or the
	// end of the wait.
	fetch func(ctx context.Context, waiting bool) (*T, error)
	limit time.Duration // of a flight
	now   func() time.Time
	next  string // what is done after a wait, for people
	// lookEvery is how often fetch is called during a wait; 0 for never.
	lookEvery time.Duration

	mu       sync.Mutex // guards what follows; never held while fetching or waiting
	flight   *flight[T]
	failures int           // in a row
	failure  error         // the last of them
	failedAt stamp         // when it was
	wait     time.Duration // for so long from then it is the result of every call
	lookedAt stamp         // when the last flight ended
	closed   bool
}

// flight is one renewal. value and err are set before done is closed.
type flight[T any] struct {
	done  chan struct{}
	value *T
	err   error
	held  error // the failure of the wait during which it began
}

// ended returns a channel that is closed when f is over, also if f is nil.
func (f *flight[T]) ended() <-chan struct{} {
	if f != nil {
		return f.done
	}
	done := make(chan struct{})
	close(done)
	return done
}

// getOrSuspect is get, except that it returns a value that is marked as refused if it
// cannot be renewed now, unless the upstream cannot be reached.
func (r *renewer[T]) getOrSuspect(ctx context.Context) (*T, error) {
	if !r.suspect(r.current.Load()) {
		return r.get(ctx)
	}
	waiting, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	value, err := r.get(waiting)
	var latched *LatchedError
	var lost *latchkey.TransportError
	if err == nil || ctx.Err() != nil || !errors.As(err, &latched) && errors.As(err, &lost) {
		return value, err
	}
	if held := r.current.Load(); r.usable(held) || r.suspect(held) {
		return held, nil
	}
	return nil, err
}

// get returns the current value, which it renews first if it is not usable. It stops
// waiting when ctx ends. The flight goes on for the others.
func (r *renewer[T]) get(ctx context.Context) (*T, error) {
	if held := r.current.Load(); r.usable(held) {
		if r.due(held) {
			r.join(ctx)
		}
		return held, nil
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	f := r.join(ctx)
	select {
	case <-f.done:
		return f.value, f.err
	case <-ctx.Done():
		return nil, fmt.Errorf("keeper: gave up waiting for a token: %w", context.Cause(ctx))
	}
}

// join returns the current flight, or starts one. If none is needed or allowed, it
// returns one that has ended. A flight keeps the values of its first caller's ctx, for
// tracing, but neither its cancellation nor its deadline.
func (r *renewer[T]) join(ctx context.Context) *flight[T] {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.flight != nil {
		return r.flight
	}
	f := &flight[T]{done: make(chan struct{})}
	held, now := r.current.Load(), r.now()
	f.held = r.failing(now)
	switch {
	case r.closed:
		f.err = ErrClosed
	case r.usable(held) && !r.due(held): // a flight has ended since the caller looked
		f.value = held
	case f.held != nil && !r.mayLook(now):
		f.err = f.held
	default:
		r.flight = f
		go r.fly(context.WithoutCancel(ctx), f)
		return f
	}
	close(f.done)
	return f
}

func (r *renewer[T]) fly(ctx context.Context, f *flight[T]) {
	ctx, cancel := context.WithTimeoutCause(ctx, r.limit, errFlightTime)
	defer cancel()
	f.value, f.err = r.fetch(ctx, f.held != nil)
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	r.lookedAt = stampOf(now)
	switch {
	case errors.Is(f.err, errStillWaiting):
		f.err = f.held
	case f.err != nil:
		r.failed(f.err)
		f.err = cmp.Or(r.failing(now), f.err)
	case r.closed:
		f.err = ErrClosed // the caller of close takes care of the value
	default:
		r.forget()
		r.current.Store(f.value)
	}
	r.flight = nil
	close(f.done)
}

// failed begins the wait after a failure. It is called with mu held, as are those that
// follow.
func (r *renewer[T]) failed(err error) {
	r.failure, r.failedAt = err, r.lookedAt
	var latched *LatchedError
	var soon *tooSoonError
	switch {
	case errors.As(err, &latched):
		r.wait = latchedPause
	case errors.As(err, &soon):
		r.wait = soon.left
	default:
		r.failures++
		r.wait = pause(err, r.failures)
	}
}

// left returns how much of a wait is left.
func (r *renewer[T]) left(now time.Time) time.Duration {
	return r.wait - r.failedAt.since(now)
}

// failing returns the failure that callers get during a wait, or nil if there is none.
func (r *renewer[T]) failing(now time.Time) error {
	left := r.left(now)
	if r.failure == nil || left <= 0 {
		return nil
	}
	if errors.As(r.failure, new(*LatchedError)) {
		return r.failure
	}
	return &WaitError{Err: r.failure, Until: now.Add(left), Wait: left, next: r.next}
}

// mayLook reports whether it is time to look whether a wait has been ended.
func (r *renewer[T]) mayLook(now time.Time) bool {
	return r.lookEvery != 0 && r.lookedAt.since(now) >= r.lookEvery
}

func (r *renewer[T]) forget() { r.failures, r.failure, r.failedAt, r.wait = 0, nil, stamp{}, 0 }

// waiting returns the current wait, or nil if there is none.
func (r *renewer[T]) waiting() (wait *WaitError) {
	r.mu.Lock()
	defer r.mu.Unlock()
	errors.As(r.failing(r.now()), &wait)
	return wait
}

// endWait lets the next caller try, whatever failed before.
func (r *renewer[T]) endWait() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forget()
}

// install replaces the current value, and returns it: no caller gets it any more. Once
// r is closed, install returns value.
func (r *renewer[T]) install(value *T) (before *T) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return value
	}
	r.forget()
	return r.current.Swap(value)
}

// close makes every further call return ErrClosed. It returns the current value and the
// current flight, each of which may be nil.
func (r *renewer[T]) close() (*T, *flight[T]) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	return r.current.Swap(nil), r.flight
}

var (
	errFlightTime   = errors.New("it took too long")
	errStillWaiting = errors.New("keeper: the wait goes on")
)

const (
	// latchedPause is how often a latched guard is checked, because an operator may have
	// reset it, or the credential may have changed. Nothing is sent for that. It is also
	// how often the State is checked during a wait, which an operator may have ended, or
	// another process that has logged in.
	latchedPause = 5 * time.Second
	// maxRetryAfter bounds a Retry-After.
	maxRetryAfter = 5 * time.Minute
)

// pause returns the wait after a failure that was the last of so many in a row.
func pause(err error, failures int) time.Duration {
	if errors.Is(err, latchkey.ErrBlocked) {
		return maxRetryAfter // which a person at the service may end
	}
	wait := ledger.Backoff(failures)
	// At least half of it, so that it grows. The rest is random, so that many keepers do
	// not return at the same moment.
	wait = wait/2 + rand.N(wait/2) //nolint:gosec // spreading needs no secrecy
	return max(wait, min(latchkey.RetryAfter(err), maxRetryAfter))
}
