package latchtest

import "github.com/latchkey/latchkey/internal/simulate"

// Switches select behavior that the vendor leaves undocumented. A program for the vendor's
// service should work with every setting.
type Switches struct {
	// EndSessionsOnLogin makes a login end the user's other sessions. Off: they continue.
	EndSessionsOnLogin bool
	// KeepSessionsOnReset makes a password reset keep the user's other sessions. Off: it
	// ends them.
	KeepSessionsOnReset bool
	// StrikeOnAbort makes a login a strike if its caller disconnects before the response, or
	// if DropBefore cuts it off. Off: it is none.
	StrikeOnAbort bool
}

// SetSwitches applies the switches to requests from now on. Sessions and accounts stay as
// they are.
func (s *Server) SetSwitches(switches Switches) {
	s.t.Helper()
	if err := s.service.SetSwitches(simulate.Switches(switches)); err != nil {
		s.t.Fatalf("latchtest: set the switches: %v", err)
	}
}
