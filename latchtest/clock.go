package latchtest

import (
	"context"
	"time"
)

// Now returns the time of the service. It fits latchkey.Config.Now; a keeper follows
// the clock of its client, and compares it at each request.
func (s *Server) Now() time.Time { return s.service.Now() }

// Advance moves the clock ahead. The events show at once which sessions have expired.
func (s *Server) Advance(d time.Duration) {
	s.t.Helper()
	if err := s.service.Advance(context.Background(), d); err != nil {
		s.t.Fatalf("latchtest: advance the clock: %v", err)
	}
}
