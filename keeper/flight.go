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

// renewer holds one thing for any number of callers and renews it: one flight at
// a time, whose success and whose failure all of them share.
type renewer[T any] struct {
	current atomic.Pointer[T]
	usable  func(*T) bool // whether it may be handed out; a nil one may not
	due     func(*T) bool // whether a usable one should be renewed behind its users' backs
	// suspect reports whether one that was refused, and so is not usable, may be good.
	suspect func(*T) bool
	// fetch is told whether a wait is under way. Then it sends nothing, and returns
	// errStillWaiting unless it has found a value, or that the wait was called off.
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
	failedAt stamp         // when it came
	wait     time.Duration // for so long from then it is the result of every call
	lookedAt stamp         // when the last flight landed
	closed   bool
}

// flight is one renewal. value and err are set before done is closed.
type flight[T any] struct {
	done  chan struct{}
	value *T
	err   error
	held  error // the failure of the wait that was under way when it began
}

// landed is closed when f is over. A nil flight is.
func (f *flight[T]) landed() <-chan struct{} {
	if f != nil {
		return f.done
	}
	done := make(chan struct{})
	close(done)
	return done
}

// get answers what is held, renewing it first if need be. It stops waiting when
// ctx ends; the flight goes on for the others.
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

// join answers the flight under way, or starts one. Where none is needed or
// allowed, it answers one that has landed. A flight keeps the values of its
// first caller's ctx (for tracing), and neither its cancellation nor its deadline.
func (r *renewer[T]) join(ctx context.Context) *flight[T] {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.flight != nil {
		return r.flight
	}
	f := &flight[T]{done: make(chan struct{})}
	held, now := r.current.Load(), r.now()
	f.held = r.told(now)
	switch {
	case r.closed:
		f.err = ErrClosed
	case r.usable(held) && !r.due(held): // a flight landed since the caller looked
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
		f.err = cmp.Or(r.told(now), f.err)
	case r.closed:
		f.err = ErrClosed // close's caller sees to the value
	default:
		r.forget()
		r.current.Store(f.value)
	}
	r.flight = nil
	close(f.done)
}

// failed begins the wait after a failure. Call it with mu held, as those that follow.
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

// told returns the failure that callers get during a wait; nil if there is none.
func (r *renewer[T]) told(now time.Time) error {
	left := r.left(now)
	if r.failure == nil || left <= 0 {
		return nil
	}
	if errors.As(r.failure, new(*LatchedError)) {
		return r.failure
	}
	return &WaitError{Err: r.failure, Until: now.Add(left), Wait: left, next: r.next}
}

// mayLook reports whether it is time to look whether a wait was called off.
func (r *renewer[T]) mayLook(now time.Time) bool {
	return r.lookEvery != 0 && r.lookedAt.since(now) >= r.lookEvery
}

func (r *renewer[T]) forget() { r.failures, r.failure, r.failedAt, r.wait = 0, nil, stamp{}, 0 }

// waiting returns the wait that is under way; nil if there is none.
func (r *renewer[T]) waiting() (wait *WaitError) {
	r.mu.Lock()
	defer r.mu.Unlock()
	errors.As(r.told(r.now()), &wait)
	return wait
}

// forgive lets the next caller try, whatever failed before.
func (r *renewer[T]) forgive() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forget()
}

// install puts value in the place of what is held, which it answers: nobody hands
// that out any more. Once r is closed, that is value itself.
func (r *renewer[T]) install(value *T) (before *T) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return value
	}
	r.forget()
	return r.current.Swap(value)
}

// close ends the handing out, and answers what was held and the flight that is
// still under way; each may be nil.
func (r *renewer[T]) close() (*T, *flight[T]) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	return r.current.Swap(nil), r.flight
}

var (
	errFlightTime   = errors.New("it took too long")
	errStillWaiting = errors.New("keeper: nothing has ended the wait")
)

const (
	// latchedPause is how soon a latched guard is looked at again, because an
	// operator or a changed credential may have re-armed it. Nothing is sent then.
	// It is also how often a login that waits looks into the State, where an
	// operator may have ended the wait, or another process have logged in.
	latchedPause = 5 * time.Second
	// maxRetryAfter bounds what is believed of a Retry-After.
	maxRetryAfter = 5 * time.Minute
)

// pause returns how long the wait after a failure is, the last of so many in a row.
func pause(err error, failures int) time.Duration {
	if errors.Is(err, latchkey.ErrBlocked) {
		return maxRetryAfter // it is not retried, but somebody may have lifted it
	}
	wait := ledger.Backoff(failures)
	// Half of it at least, so that it grows; the rest at random, so that many
	// keepers do not come back at the same moment.
	wait = wait/2 + rand.N(wait/2) //nolint:gosec // spreading needs no secrecy
	return max(wait, min(retryAfter(err), maxRetryAfter))
}

// retryAfter answers what the upstream asked for.
func retryAfter(err error) time.Duration {
	var fault *latchkey.FaultError
	var oauth *latchkey.OAuthError
	var odd *latchkey.ResponseError
	switch {
	case errors.As(err, &fault):
		return fault.RetryAfter
	case errors.As(err, &oauth):
		return oauth.RetryAfter
	case errors.As(err, &odd):
		return odd.RetryAfter
	}
	return 0
}
