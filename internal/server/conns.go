package server

import (
	"context"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// tick is how exact the deadlines of connections are.
const tick = time.Second

// longAgo is a deadline that has passed.
var longAgo = time.Unix(1, 0)

// connections are those that a listener accepted and that are still open. They
// are bounded: to make room for the next, the connection is closed that has waited for
// a request for the longest time. Without one, those beyond wait in the system's backlog,
// and none is refused.
//
// They also keep the deadlines that net/http sets several times for each request
// and that next to never pass. A timer for each would cost as much as a tenth of
// a small request; noting the time and looking once a tick costs nothing.
type connections struct {
	slots chan struct{} // one token for each
	start time.Time
	now   atomic.Int64 // since start, as of the last tick

	mu   sync.Mutex
	open map[*conn]struct{}
}

func newConnections(limit int) *connections {
	return &connections{slots: make(chan struct{}, limit), start: time.Now(), open: map[*conn]struct{}{}}
}

// count is how many there are.
func (cs *connections) count() int { return len(cs.slots) }

// watch enforces the deadlines until ctx ends.
func (cs *connections) watch(ctx context.Context) {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		now := time.Since(cs.start)
		cs.now.Store(int64(now))
		cs.mu.Lock()
		for c := range cs.open {
			c.read.check(now, c.Conn.SetReadDeadline)
			c.write.check(now, c.Conn.SetWriteDeadline)
		}
		cs.mu.Unlock()
	}
}

// admit takes the slot of the next connection. It returns false if closed is closed
// first.
func (cs *connections) admit(closed <-chan struct{}) bool {
	for {
		select {
		case cs.slots <- struct{}{}:
			return true
		default:
		}
		if cs.evict() {
			continue // another listener may take the slot
		}
		over := time.NewTimer(tick)
		select {
		case cs.slots <- struct{}{}:
			over.Stop()
			return true
		case <-over.C: // connections that wait are older now
		case <-closed:
			over.Stop()
			return false
		}
	}
}

// evict closes the connection that has waited for the end of a request's header for the
// longest time, and reports whether there was one. One that has waited for less than a
// tick stays: a request is on its way, perhaps.
func (cs *connections) evict() bool {
	var oldest *conn
	least := cs.mark() - int64(tick)
	cs.mu.Lock()
	for c := range cs.open {
		if since := c.waiting.Load(); since != 0 && since < least {
			oldest, least = c, since
		}
	}
	cs.mu.Unlock()
	if oldest == nil || !oldest.waiting.CompareAndSwap(least, 0) {
		return oldest != nil // a request has come
	}
	_ = oldest.Close()
	return true
}

// mark is the time of the last tick, as conn.waiting has it.
func (cs *connections) mark() int64 { return cs.now.Load() + 1 }

// follow notes whether a request is under way on a connection. It is for
// http.Server.ConnState.
func (cs *connections) follow(inner net.Conn, state http.ConnState) {
	c, ok := plainConn(inner)
	if !ok {
		return
	}
	switch state {
	case http.StateIdle:
		c.waiting.Store(cs.mark())
	case http.StateActive:
		c.waiting.Store(0)
	}
}

// listen returns a listener whose connections are among these. secure means that
// TLS is spoken on them.
func (cs *connections) listen(inner net.Listener, secure bool) net.Listener {
	return &boundedListener{Listener: inner, all: cs, secure: secure, closed: make(chan struct{})}
}

type boundedListener struct {
	net.Listener
	all    *connections
	secure bool
	once   sync.Once
	closed chan struct{}
}

// Accept implements net.Listener.
func (l *boundedListener) Accept() (net.Conn, error) {
	if !l.all.admit(l.closed) {
		return nil, net.ErrClosed
	}
	inner, err := l.Listener.Accept()
	if err != nil {
		<-l.all.slots
		return nil, err
	}
	c := &conn{Conn: inner, all: l.all, secure: l.secure}
	c.waiting.Store(l.all.mark())
	l.all.mu.Lock()
	defer l.all.mu.Unlock()
	l.all.open[c] = struct{}{}
	return c, nil
}

// Close implements net.Listener.
func (l *boundedListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

type conn struct {
	net.Conn
	all         *connections
	read, write deadline
	once        sync.Once
	secure      bool        // TLS is spoken on it
	heard       bool        // something was read
	gone        atomic.Bool // it broke, or was closed here
	// waiting is since when no request is under way, as a mark; 0: one is.
	waiting atomic.Int64
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.gone.Store(true)
	err := c.Conn.Close()
	c.once.Do(func() {
		c.all.mu.Lock()
		defer c.all.mu.Unlock()
		delete(c.all.open, c)
		<-c.all.slots
	})
	return err
}

// CloseWrite lets net/http say goodbye before it hangs up, so that a caller whose
// request was too large reads why.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// SetReadDeadline implements net.Conn.
func (c *conn) SetReadDeadline(t time.Time) error {
	return c.read.set(t, c.all, c.Conn.SetReadDeadline)
}

// SetWriteDeadline implements net.Conn.
func (c *conn) SetWriteDeadline(t time.Time) error {
	return c.write.set(t, c.all, c.Conn.SetWriteDeadline)
}

// SetDeadline implements net.Conn.
func (c *conn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

// deadline is a time that is noted, and told to the connection only when it has
// passed.
type deadline struct {
	mu     sync.Mutex
	at     time.Duration // since connections.start; 0: none
	passed bool          // the connection has been told
}

func (d *deadline) set(t time.Time, all *connections, tell func(time.Time) error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.at = 0
	if !t.IsZero() {
		d.at = t.Sub(all.start)
		if d.at <= time.Duration(all.now.Load()) {
			d.at, d.passed = 0, true
			return tell(longAgo)
		}
	}
	if d.passed {
		d.passed = false
		return tell(time.Time{})
	}
	return nil
}

// check tells the connection if the deadline has passed now.
func (d *deadline) check(now time.Duration, tell func(time.Time) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.at == 0 || d.at > now {
		return
	}
	d.at, d.passed = 0, true
	_ = tell(longAgo) // a connection that is closed has no need of it
}
