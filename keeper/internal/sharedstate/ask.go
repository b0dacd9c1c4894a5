package sharedstate

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"
)

const (
	// patience is how long a call that fails is repeated: for connections that broke
	// while they were idle, and for conflicts of transactions.
	patience = 500 * time.Millisecond
	// pauseLeast is the least time between two calls. Up to as much again is added at
	// random, so that many callers do not call at the same time.
	pauseLeast = 50 * time.Millisecond
)

// ask repeats call until it succeeds, at most for patience. Each call has a timeout, because
// a connection may break without a notification.
func ask[T any](
	ctx context.Context, s *State, patience time.Duration, call func(context.Context) (T, error),
) (T, error) {
	limit := s.config.TTL / perTTL
	for begun := time.Now(); ; {
		limited, cancel := context.WithTimeout(ctx, limit)
		result, err := call(limited)
		late := limited.Err() != nil
		cancel()
		if err == nil {
			return result, nil
		}
		if time.Since(begun) >= patience || !pause(ctx) {
			switch {
			case ctx.Err() != nil:
				err = fmt.Errorf("%w: %w", context.Cause(ctx), err)
			case late:
				err = fmt.Errorf("no response within %v: %w", limit, err)
			}
			return result, s.failed(err)
		}
	}
}

// pause waits, and reports whether ctx is still alive.
func pause(ctx context.Context) bool {
	timer := time.NewTimer(pauseLeast + rand.N(pauseLeast)) //nolint:gosec // spreading needs no secrecy
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
