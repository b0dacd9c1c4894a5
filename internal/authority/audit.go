package authority

import "context"

// Origin is where a call came from. It goes into the audit trail.
type Origin struct {
	Client    string // API key, or empty
	Address   string // of the caller, without a port
	RequestID string
}

// AuditEvents lists the audit trail.
func (a *Authority) AuditEvents(ctx context.Context, query AuditQuery) ([]Event, error) {
	a.writeRefusals(ctx, false)
	events, err := a.stores.Audit.AuditEvents(ctx, query)
	return events, unavailable(err)
}

// record adds an event. What it describes has happened already, so a failure does not undo
// it: the event is logged and counted (AuditFailures). Cancellation of ctx is ignored.
func (a *Authority) record(ctx context.Context, origin Origin, event Event) {
	event.At = a.now()
	event.Client, event.Address, event.RequestID = origin.Client, origin.Address, origin.RequestID
	before := a.refused.take(func(key refusalKey, _ *openWindow) bool {
		return key.user == event.User && event.User != ""
	})
	a.recordEvents(ctx, append(before, event)...)
}

// RecordForwarded adds events of requests that went to an upstream. If the store fails,
// they are logged and counted.
func (a *Authority) RecordForwarded(ctx context.Context, events ...Event) {
	a.recordEvents(ctx, events...)
}

// recordEvents adds events: all at once, which is cheapest, or if that fails one by one, so
// that one that cannot be stored does not keep others out. If a store failed after it had
// stored them, an event may be in the trail twice rather than not at all.
func (a *Authority) recordEvents(ctx context.Context, events ...Event) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	err := a.stores.Audit.AppendAudit(ctx, events...)
	if err == nil {
		return
	}
	for _, event := range events {
		if len(events) > 1 {
			err = a.stores.Audit.AppendAudit(ctx, event)
		}
		if err != nil {
			a.auditFailures.Add(1)
			a.log.Error("an audit event could not be stored; it is in this line only",
				append(event.attributes(), "error", err)...)
		}
	}
}

// AuditFailures counts the audit events that could not be stored since start.
func (a *Authority) AuditFailures() int64 { return a.auditFailures.Load() }
