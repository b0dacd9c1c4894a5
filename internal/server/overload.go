package server

import (
	"context"
	"time"
)

// A client that does not heed Retry-After would otherwise send its next login at once, and
// a flood of refusals takes the processors that hash the passwords of others.
const (
	overloadPause = time.Second
	maxPaused     = 4096 // more refusals than this are sent at once, because each takes memory
)

// pauseRefusal waits before a login is refused for overload, until the caller has left.
func (s *Server) pauseRefusal(ctx context.Context) {
	select {
	case s.paused <- struct{}{}:
		defer func() { <-s.paused }()
	default:
		return
	}
	timer := time.NewTimer(overloadPause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
