package latchtest

import (
	"context"
	"time"

	"github.com/latchkey/latchkey/internal/authority"
)

// EventKind is the kind of an Event.
type EventKind string

// The most useful kinds of events. There are more, for the acts of operators.
const (
	EventLogIn        = EventKind(authority.EventLogIn)
	EventLogInFailed  = EventKind(authority.EventLogInFailed)  // a strike
	EventLogInRefused = EventKind(authority.EventLogInRefused) // the account was locked already
	EventLocked       = EventKind(authority.EventLocked)
	EventUnlocked     = EventKind(authority.EventUnlocked)
	EventLogOut       = EventKind(authority.EventLogOut)
	EventExpired      = EventKind(authority.EventExpired) // idle for too long
	EventReset        = EventKind(authority.EventReset)
	EventResetFailed  = EventKind(authority.EventResetFailed) // a strike, unless the detail says otherwise
	// EventResetRepeated means that a repeated reset returned the same new password, in the
	// same session or by an idempotency key.
	EventResetRepeated = EventKind(authority.EventResetRepeated)
	EventSessionEnded  = EventKind(authority.EventSessionEnded)
	EventTokenRevoked  = EventKind(authority.EventTokenRevoked)
)

// Event is an event of the audit trail. A request that DropBefore, Fail, Throttle or
// ForbidXML prevented from being executed causes none.
type Event struct {
	At        time.Time // by the service's clock
	Kind      EventKind
	User      string // empty if there is no user of that name
	SessionID string // the public ID of a session; it gives no access
	Client    string // API key
	// Count is how many failures the event represents: those of a minute become one event
	// for the first and one for the others. It is 1 for every other kind of event.
	Count  int
	Detail string // prose
}

// eventPage is how many events are read at once.
const eventPage = 1000

// Events returns all events, oldest first. The first two are that User and APIKey were
// added.
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

// Count returns how many events of a kind there were.
func (s *Server) Count(kind EventKind) (n int) {
	s.t.Helper()
	for _, event := range s.Events() {
		if event.Kind == kind {
			n += event.Count
		}
	}
	return n
}
