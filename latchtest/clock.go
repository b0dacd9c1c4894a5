package latchtest

import (
	"context"
	"time"
)

// Now tells the time of the service. It fits latchkey.Config.Now; a keeper follows
// the clock of its client, and compares it at each request.
func (s *Server) Now() time.Time { return s.service.Now() }

// Advance moves the clock ahead. What has expired by then shows in the events at
// once.
func (s *Server) Advance(d time.Duration) {
	s.t.Helper()
	if err := s.service.Advance(context.Background(), d); err != nil {
		s.t.Fatalf("latchtest: advance the clock: %v", err)
	}
}
