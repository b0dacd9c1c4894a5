package authority

import (
	"context"
	"sync"
)

// turns lets a bounded number of callers go on at a time. The others wait in a line of their
// API client. A place that is given back goes to the client that has had the fewest turns
// since it began to wait, so a client with a thousand callers in its line delays the caller of
// another one by a single turn. This is start-time fair queuing (Goyal, Vin and Cheng, 1996).
// A client without callers takes no memory.
type turns struct {
	mu      sync.Mutex
	free    int
	places  int
	now     uint64 // the turn that was given last
	waiting int
	lines   map[string]*line // of clients that wait, or whose next turn is in the future
}

// line is the line of one API client.
type line struct {
	next    uint64 // its next turn
	callers []*caller
}

// caller is one that waits. turn is closed when it may go on.
type caller struct{ turn chan struct{} }

func newTurns(places int) *turns {
	return &turns{free: places, places: places, lines: map[string]*line{}}
}

// take returns when the caller may go on, and must give its place back. If ctx ends before,
// take returns its error, and the caller has left the line.
func (t *turns) take(ctx context.Context, client string) error {
	if err := ctx.Err(); err != nil {
		return err // do nothing for a caller that left
	}
	t.mu.Lock()
	l := t.lines[client]
	if l == nil {
		l = &line{}
		t.lines[client] = l
	}
	if len(l.callers) == 0 {
		l.next = max(l.next, t.now)
	}
	if t.free > 0 { // so no caller waits
		t.free--
		t.now = l.next
		l.next++
		t.mu.Unlock()
		return nil
	}
	c := &caller{turn: make(chan struct{})}
	l.callers = append(l.callers, c)
	t.waiting++
	t.mu.Unlock()
	select {
	case <-c.turn:
		return nil
	case <-ctx.Done():
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, other := range l.callers {
		if other == c {
			l.callers = append(l.callers[:i], l.callers[i+1:]...)
			t.waiting--
			t.forget(client, l)
			return ctx.Err()
		}
	}
	t.pass() // its turn came at the same moment
	return ctx.Err()
}

// give gives a place back.
func (t *turns) give() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.pass()
}

// pass gives a place to the first caller of the line whose turn it is.
func (t *turns) pass() {
	var first *line
	client := ""
	for name, l := range t.lines {
		switch {
		case len(l.callers) == 0:
			t.forget(name, l)
		case first == nil || l.next < first.next || l.next == first.next && name < client:
			first, client = l, name
		}
	}
	if first == nil {
		if t.free++; t.free == t.places {
			clear(t.lines) // nothing to be fair about
		}
		return
	}
	c := first.callers[0]
	first.callers[0] = nil
	first.callers = first.callers[1:]
	t.waiting--
	t.now = first.next
	first.next++
	close(c.turn)
}

// forget removes a line without callers, unless its client has had turns that others have not.
func (t *turns) forget(client string, l *line) {
	if len(l.callers) == 0 && l.next <= t.now {
		delete(t.lines, client)
	}
}

// load returns how many callers go on and how many wait.
func (t *turns) load() (going, waiting int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.places - t.free, t.waiting
}
