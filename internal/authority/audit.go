package authority

import (
	"context"
	"time"
)

// Event is one line of the audit trail. It never holds a password, a token or a
// body.
type Event struct {
	Seq       int64
	At        time.Time
	Kind      EventKind
	User      string // empty for a name that nobody has: it may be a mistyped password
	SessionID string
	Client    string // API key
	Address   string
	RequestID string
	Detail    string
	// Chain is set by the store; see Event.After. It is zero for events from
	// before there was one.
	Chain Chain
}

// EventKind says what happened.
type EventKind string

// The kinds of events.
const (
	EventLogIn         EventKind = "login"
	EventLogInFailed   EventKind = "login-failed"
	EventLogInRefused  EventKind = "login-refused" // the account was locked already
	EventLocked        EventKind = "locked"
	EventUnlocked      EventKind = "unlocked"
	EventLogOut        EventKind = "logout"
	EventExpired       EventKind = "expired"
	EventReset         EventKind = "password-reset"
	EventResetFailed   EventKind = "password-reset-failed"
	EventResetRepeated EventKind = "password-reset-repeated" // its answer was told once more
	EventSessionEnded  EventKind = "session-ended"           // by an operator, or by a later login
	EventUserAdded     EventKind = "user-added"
	EventUserRemoved   EventKind = "user-removed"
	EventUserDisabled  EventKind = "user-disabled"
	EventUserEnabled   EventKind = "user-enabled"
	EventPasswordSet   EventKind = "password-set"
	EventUserAllowed   EventKind = "user-allowed" // what the user may send on was changed
	EventClientAdded   EventKind = "client-added"
	EventClientRotated EventKind = "client-rotated"
	EventClientRevoked EventKind = "client-revoked"
	EventTokenRevoked  EventKind = "access-token-revoked"
	EventForwarded     EventKind = "forwarded"     // a request to the upstream, and its status
	EventAuditTrimmed  EventKind = "audit-trimmed" // events older than the retention were removed
)

// Origin is where a call came from. It goes into the audit trail.
type Origin struct {
	Client    string // API key, or empty
	Address   string // of the caller, without a port
	RequestID string
}

// AuditEvents lists the audit trail.
func (a *Authority) AuditEvents(ctx context.Context, query AuditQuery) ([]Event, error) {
	events, err := a.stores.Audit.AuditEvents(ctx, query)
	return events, unavailable(err)
}

// record adds an event. What it tells of has happened already, so a failure does
// not undo it: it is logged, counted (AuditFailures), and shows in the metrics.
// The caller's going away does not stop it.
func (a *Authority) record(ctx context.Context, origin Origin, event Event) {
	event.At = a.now()
	event.Client, event.Address, event.RequestID = origin.Client, origin.Address, origin.RequestID
	a.recordEvents(ctx, event)
}

// RecordForwarded adds events of requests that went to an upstream. Where the
// store fails, they are in the log and counted.
func (a *Authority) RecordForwarded(ctx context.Context, events ...Event) {
	a.recordEvents(ctx, events...)
}

func (a *Authority) recordEvents(ctx context.Context, events ...Event) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	if err := a.stores.Audit.AppendAudit(ctx, events...); err != nil {
		a.auditFailures.Add(int64(len(events)))
		for _, event := range events {
			a.log.Error("an audit event could not be stored; it is in this line only",
				"kind", event.Kind, "user", event.User, "session", event.SessionID, "client", event.Client,
				"address", event.Address, "request", event.RequestID, "at", event.At, "error", err)
		}
	}
}

// AuditFailures counts the audit events that could not be stored since start.
func (a *Authority) AuditFailures() int64 { return a.auditFailures.Load() }
