package latchtest

import (
	"context"
	"time"

	"github.com/latchkey/latchkey/internal/authority"
)

// EventKind says what happened.
type EventKind string

// The kinds of events that tests ask for most. There are more, for what an
// operator does.
const (
	EventLogIn         = EventKind(authority.EventLogIn)
	EventLogInFailed   = EventKind(authority.EventLogInFailed)  // a strike
	EventLogInRefused  = EventKind(authority.EventLogInRefused) // the account was locked already
	EventLocked        = EventKind(authority.EventLocked)
	EventUnlocked      = EventKind(authority.EventUnlocked)
	EventLogOut        = EventKind(authority.EventLogOut)
	EventExpired       = EventKind(authority.EventExpired) // idle for too long
	EventReset         = EventKind(authority.EventReset)
	EventResetFailed   = EventKind(authority.EventResetFailed)   // a strike, unless the detail says otherwise
	EventResetRepeated = EventKind(authority.EventResetRepeated) // the same new password again, in the same session or by an idempotency key
	EventSessionEnded  = EventKind(authority.EventSessionEnded)
	EventTokenRevoked  = EventKind(authority.EventTokenRevoked)
)

// Event is something that happened at the service. What DropBefore, Fail,
// Throttle and ForbidXML kept from happening is none.
type Event struct {
	At        time.Time // by the service's clock
	Kind      EventKind
	User      string // empty where the name was nobody's
	SessionID string // the public name of a session; it opens nothing
	Client    string // API key
	// Count is how many refusals the event stands for: those of a minute are folded
	// into the first and one for the others. 1 for every other kind of event.
	Count  int
	Detail string // prose
}

// eventPage is how many events are read at once.
const eventPage = 1000

// Events answers everything that happened, oldest first. The first two events
// are the adding of User and APIKey.
func (s *Server) Events() []Event {
	s.t.Helper()
	var all []Event
	for after := int64(0); ; {
		page, err := s.service.Events(context.Background(), after, eventPage)
		if err != nil {
			s.t.Fatalf("latchtest: read the events: %v", err)
		}
		for _, event := range page {
			after = event.Seq
			all = append(all, Event{At: event.At, Kind: EventKind(event.Kind), User: event.User,
				SessionID: event.SessionID, Client: event.Client, Count: max(1, event.Count), Detail: event.Detail})
		}
		if len(page) < eventPage {
			return all
		}
	}
}

// Count returns how often something of a kind has happened.
func (s *Server) Count(kind EventKind) (n int) {
	s.t.Helper()
	for _, event := range s.Events() {
		if event.Kind == kind {
			n += event.Count
		}
	}
	return n
}
