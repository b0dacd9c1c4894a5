package authority

import (
	"context"
	"sync"
	"time"
)

const (
	// refusalWindow is the time for which the refusals of one kind are folded into
	// one event, from the first of them.
	refusalWindow = time.Minute
	// maxRefusalWindows bounds the windows that are open at once. If there are more,
	// all of them are closed early.
	maxRefusalWindows = 10_000
)

// refusals gathers what may happen any number of times at no cost to its caller:
// logins to a locked account, and requests that are not sent on. The first of a
// kind, user, client and status is an event of its own. The others of the minute
// that follows are one more event, with their number; it has the fields of the last
// of them. Nothing is written while a caller waits, so the time of a response does
// not tell whether a user exists. Another event of the user closes the windows, so
// that the trail keeps the order.
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

// RecordRefused adds the event of a request that was refused. The event may be
// written later, folded with others; see AuditEvents, Sweep and Flush.
func (a *Authority) RecordRefused(ctx context.Context, event Event) {
	if a.refused.add(event, event.At) {
		a.writeRefusals(ctx, false)
	}
}

// refuse is record for what RecordRefused folds.
func (a *Authority) refuse(ctx context.Context, origin Origin, event Event) {
	event.At = a.now()
	event.Client, event.Address, event.RequestID = origin.Client, origin.Address, origin.RequestID
	a.RecordRefused(ctx, event)
}

// Flush writes every event that waits to be folded with others. Call it before the
// program ends.
func (a *Authority) Flush(ctx context.Context) { a.writeRefusals(ctx, true) }

// writeRefusals writes what is due, and closes the windows that are over, or all.
func (a *Authority) writeRefusals(ctx context.Context, all bool) {
	now := a.now()
	over := func(_ refusalKey, window *openWindow) bool { return all || window.over(now) }
	if events := a.refused.take(over); len(events) > 0 {
		a.recordEvents(ctx, events...)
	}
}

// add reports whether so much is due that it must be written now.
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

// take closes the windows that are over, and returns what is due.
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
