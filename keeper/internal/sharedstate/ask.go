package sharedstate

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"
)

const (
	// patience is how long a call that fails is repeated. It is there for
	// connections that broke while they lay idle, and for transactions that met.
	patience = 500 * time.Millisecond
	// pauseLeast is the time between two calls, at least. Up to as much again is
	// added by chance, so that many callers do not come at once.
	pauseLeast = 50 * time.Millisecond
)

// ask calls until there is an answer, or for as long as patience goes. No call
// waits for ever: a connection that is cut without a word is given up.
func ask[T any](ctx context.Context, s *State, patience time.Duration, call func(context.Context) (T, error)) (T, error) {
	limit := s.config.TTL / perTTL
	for begun := time.Now(); ; {
		limited, cancel := context.WithTimeout(ctx, limit)
		answer, err := call(limited)
		late := limited.Err() != nil
		cancel()
		if err == nil {
			return answer, nil
		}
		if time.Since(begun) >= patience || !pause(ctx) {
			switch {
			case ctx.Err() != nil:
				err = fmt.Errorf("%w: %w", context.Cause(ctx), err)
			case late:
				err = fmt.Errorf("no answer within %v: %w", limit, err)
			}
			return answer, s.failed(err)
		}
	}
}

// pause reports false as soon as ctx ends.
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
