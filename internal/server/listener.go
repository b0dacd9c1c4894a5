package server

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// tick is the precision of connection deadlines.
const tick = time.Second

// connections are the open connections of one or more listeners. Their number is
// bounded: to make room for a new one, the connection that has been idle longest is
// closed. If no connection is idle, new ones wait in the system's backlog. None is
// refused.
//
// The connections of one address are bounded as well. At that bound, the one of them that
// has been idle longest is closed, and without an idle one the new connection is.
//
// They also enforce the deadlines that net/http sets several times for each request
// and that almost never expire. A timer for each deadline would cost a tenth of a
// small request. Storing the time and checking it once a tick costs almost nothing.
type connections struct {
	slots chan struct{} // one token for each open connection
	start time.Time
	now   atomic.Int64 // time since start, as of the last tick

	mu      sync.Mutex
	open    map[*conn]struct{}
	address addressLimit

	evicted atomic.Int64 // idle connections that were closed to make room
	refused atomic.Int64 // new connections that were closed because their address has too many
}

// newConnections bounds the connections in all, and those of each address that is not exempt
// unless perAddress is 0.
func newConnections(limit, perAddress int, exempt func(netip.Addr) bool) *connections {
	return &connections{
		slots: make(chan struct{}, limit), start: time.Now(), open: map[*conn]struct{}{},
		address: addressLimit{most: perAddress, exempt: exempt, open: map[netip.Addr]int{}},
	}
}

// count returns the number of open connections.
func (cs *connections) count() int {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	return len(cs.open)
}

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

// admit takes a slot for the next connection. It returns false if closed is closed
// before a slot is free.
func (cs *connections) admit(closed <-chan struct{}) bool {
	for {
		select {
		case cs.slots <- struct{}{}:
			return true
		default:
		}
		if cs.evict(netip.Addr{}) {
			continue // another listener may take the slot
		}
		retry := time.NewTimer(tick) // by then more connections may have been idle for a tick
		select {
		case cs.slots <- struct{}{}:
			retry.Stop()
			return true
		case <-retry.C:
		case <-closed:
			retry.Stop()
			return false
		}
	}
}

// evict closes the connection that has waited longest for the end of a request's
// header, of an address if that is valid, and reports whether there was one. It keeps a
// connection that has waited for less than a tick, because a request may be on its way.
func (cs *connections) evict(of netip.Addr) bool {
	var oldest *conn
	least := cs.mark() - int64(tick)
	cs.mu.Lock()
	for c := range cs.open {
		if of.IsValid() && c.address != of {
			continue
		}
		if since := c.idleSince.Load(); since != 0 && since < least {
			oldest, least = c, since
		}
	}
	cs.mu.Unlock()
	if oldest == nil || !oldest.idleSince.CompareAndSwap(least, 0) {
		return oldest != nil // a request arrived in the meantime
	}
	cs.evicted.Add(1)
	_ = oldest.Close()
	return true
}

// register adds a connection, which has a slot. It returns false if the address has too many
// connections, none of which is idle.
func (cs *connections) register(c *conn) bool {
	for {
		cs.mu.Lock()
		added := cs.address.add(c.address)
		if added {
			cs.open[c] = struct{}{}
		}
		cs.mu.Unlock()
		if added || !cs.evict(c.address) {
			return added
		}
	}
}

// mark returns the time of the last tick in the form that conn.idleSince holds.
func (cs *connections) mark() int64 { return cs.now.Load() + 1 }

// follow records whether a request is in progress on a connection. It is for
// http.Server.ConnState.
func (cs *connections) follow(inner net.Conn, state http.ConnState) {
	c, ok := plainConn(inner)
	if !ok {
		return
	}
	switch state {
	case http.StateIdle:
		c.idleSince.Store(cs.mark())
	case http.StateActive:
		c.idleSince.Store(0)
	}
}

// listen returns a listener whose connections are counted in cs. secure means that
// they carry TLS.
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
	for {
		inner, err := l.Listener.Accept()
		if err != nil {
			<-l.all.slots
			return nil, err
		}
		c := &conn{Conn: inner, all: l.all, secure: l.secure, address: l.all.address.of(inner)}
		c.idleSince.Store(l.all.mark())
		if l.all.register(c) {
			return c, nil
		}
		l.all.refused.Add(1)
		_ = inner.Close() // the caller sees an end before any response
	}
}

// Close implements net.Listener.
func (l *boundedListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}
