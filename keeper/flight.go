package keeper

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/latchkey/latchkey"
)

// renewer holds one thing for any number of callers and renews it: one flight at
// a time, whose success and whose failure all of them share.
type renewer[T any] struct {
	current atomic.Pointer[T]
	usable  func(*T) bool // whether it may be handed out; a nil one may not
	due     func(*T) bool // whether a usable one should be renewed behind its users' backs
	fetch   func(context.Context) (*T, error)
	limit   time.Duration // of a flight

	mu       sync.Mutex // guards what follows; never held while fetching or waiting
	flight   *flight[T]
	failures int       // in a row
	failure  error     // the last of them
	retryAt  time.Time // until then it is the answer
	closed   bool
}

// flight is one renewal. value and err are set before done is closed.
type flight[T any] struct {
	done  chan struct{}
	value *T
	err   error
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
	held := r.current.Load()
	switch {
	case r.closed:
		f.err = ErrClosed
	case r.usable(held) && !r.due(held): // a flight landed since the caller looked
		f.value = held
	case time.Now().Before(r.retryAt):
		f.err = r.failure
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
	f.value, f.err = r.fetch(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case f.err != nil:
		r.failures++
		r.failure = f.err
		r.retryAt = time.Now().Add(pause(f.err, r.failures))
	case r.closed:
		f.err = ErrClosed // close's caller sees to the value
	default:
		r.failures, r.failure, r.retryAt = 0, nil, time.Time{}
		r.current.Store(f.value)
	}
	r.flight = nil
	close(f.done)
}

// forgive lets the next caller try, whatever failed before.
func (r *renewer[T]) forgive() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures, r.failure, r.retryAt = 0, nil, time.Time{}
}

// install puts value in the place of what is held, which it answers: nobody hands
// that out any more. Once r is closed, that is value itself.
func (r *renewer[T]) install(value *T) (before *T) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return value
	}
	r.failures, r.failure, r.retryAt = 0, nil, time.Time{}
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

var errFlightTime = errors.New("it took too long")

const (
	firstPause = time.Second
	maxPause   = time.Minute
	// latchedPause is how soon a latched guard is looked at again, for an
	// operator or a changed credential may have re-armed it. Nothing is sent then.
	latchedPause = 5 * time.Second
	// maxRetryAfter bounds what is believed of a Retry-After.
	maxRetryAfter = 5 * time.Minute
)

// backoff is the pause after so many failures in a row, before jitter.
func backoff(failures int) time.Duration {
	return min(firstPause<<min(failures-1, 10), maxPause)
}

// pause is how long a failure is the answer to everybody who asks.
func pause(err error, failures int) time.Duration {
	var latched *LatchedError
	if errors.As(err, &latched) {
		return latchedPause
	}
	var soon *tooSoonError
	if errors.As(err, &soon) {
		return time.Until(soon.next)
	}
	wait := backoff(failures)
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
