package authority

import (
	"context"
	"sync"
	"time"
)

const (
	// refusalWindow is for how long after the first one the refusals of one kind are one
	// event.
	refusalWindow = time.Minute
	// maxRefusalWindows bounds the windows that are open at once. If there are more,
	// all of them are closed early.
	maxRefusalWindows = 10_000
)

// refusals groups events that callers can cause in any number at no cost: logins to a locked
// account, and requests that are not sent on. The first of a kind, user, client and status is
// an event of its own. The others of the following minute are one further event, which has
// their number and the fields of the last of them. Nothing is written while a caller waits,
// so that the time of a response does not reveal whether a user exists. Another event of the
// user closes the windows, so that the trail keeps the order.
type refusals struct {
	mu      sync.Mutex
	windows map[refusalKey]*openWindow
	due     []Event // to be written
}

type refusalKey struct {
	kind                 EventKind
	user, client, detail string
	status               int
}

type openWindow struct {
	begun time.Time
	last  Event // Count is how many there were beside the first
}

// RecordRefused adds the event of a request that was refused. The event may be written later,
// grouped with others; see AuditEvents, Sweep and Flush.
func (a *Authority) RecordRefused(ctx context.Context, event Event) {
	if a.refused.add(event, event.At) {
		a.writeRefusals(ctx, false)
	}
}

// refuse is record for events that RecordRefused groups.
func (a *Authority) refuse(ctx context.Context, origin Origin, event Event) {
	event.At = a.now()
	event.Client, event.Address, event.RequestID = origin.Client, origin.Address, origin.RequestID
	a.RecordRefused(ctx, event)
}

// Flush writes every pending refusal. Call it before the program ends.
func (a *Authority) Flush(ctx context.Context) { a.writeRefusals(ctx, true) }

// writeRefusals closes the windows that are over, or all, and writes their events.
func (a *Authority) writeRefusals(ctx context.Context, all bool) {
	now := a.now()
	over := func(_ refusalKey, window *openWindow) bool { return all || window.over(now) }
	if events := a.refused.take(over); len(events) > 0 {
		a.recordEvents(ctx, events...)
	}
}

// add adds an event and reports whether the due events must be written now.
func (r *refusals) add(event Event, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := refusalKey{kind: event.Kind, user: event.User, client: event.Client, detail: event.Detail, status: event.Status}
	window := r.windows[key]
	if window != nil && window.over(now) {
		r.close(key, window)
		window = nil
	}
	if window != nil {
		event.Count = window.last.Count + 1
		window.last = event
		return false
	}
	if len(r.windows) >= maxRefusalWindows {
		for key, window := range r.windows {
			r.close(key, window)
		}
	}
	if r.windows == nil {
		r.windows = map[refusalKey]*openWindow{}
	}
	r.windows[key] = &openWindow{begun: now}
	event.Count = 1
	r.due = append(r.due, event)
	return len(r.due) >= maxRefusalWindows
}

// take closes the windows that are over, and returns the due events.
func (r *refusals) take(over func(refusalKey, *openWindow) bool) []Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key, window := range r.windows {
		if over(key, window) {
			r.close(key, window)
		}
	}
	due := r.due
	r.due = nil
	return due
}

func (r *refusals) close(key refusalKey, window *openWindow) {
	if window.last.Count > 0 {
		r.due = append(r.due, window.last)
	}
	delete(r.windows, key)
}

// over reports whether the window has ended. A clock that was set back ends it, too.
func (w *openWindow) over(now time.Time) bool {
	return now.Before(w.begun) || now.Sub(w.begun) >= refusalWindow
}
