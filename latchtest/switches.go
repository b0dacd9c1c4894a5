package latchtest

import "github.com/latchkey/latchkey/internal/simulate"

// Switches decide what the vendor leaves undocumented. A program that is to work
// with the vendor's service should work under any setting.
type Switches struct {
	EndSessionsOnLogin  bool // a login ends the user's other sessions; off: they go on
	KeepSessionsOnReset bool // a password reset leaves the user's other sessions alive; off: it ends them
	StrikeOnAbort       bool // a login whose caller leaves before it is answered, or that DropBefore cuts off, is a strike; off: it is none
}

// SetSwitches has requests from now on served under these switches. Sessions and
// accounts stay as they are.
func (s *Server) SetSwitches(switches Switches) {
	s.t.Helper()
	if err := s.service.SetSwitches(simulate.Switches(switches)); err != nil {
		s.t.Fatalf("latchtest: set the switches: %v", err)
	}
}
