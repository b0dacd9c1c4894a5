package server

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// errNoData is the error of a TLS handshake with a caller that sent no byte, as health
// checks of the port do.
var errNoData = errors.New("the caller sent nothing")

// conn is a connection that a listener of connections accepted.
type conn struct {
	net.Conn
	all         *connections
	address     netip.Addr // that it counts for; see addressLimit
	read, write deadline
	once        sync.Once
	secure      bool        // it carries TLS
	received    bool        // the caller has sent something
	gone        atomic.Bool // it broke, or was closed here
	// idleSince is when the last request ended, as connections.mark returns it; 0 while
	// a request is in progress.
	idleSince atomic.Int64
}

// Read implements net.Conn.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.received = true
	}
	if err == nil {
		return n, nil
	}
	if !errors.Is(err, io.EOF) && !errors.Is(err, os.ErrDeadlineExceeded) {
		c.gone.Store(true)
	}
	if c.secure && !c.received {
		err = errNoData
	}
	return n, err
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.gone.Store(true)
	err := c.Conn.Close()
	c.once.Do(func() {
		c.all.mu.Lock()
		defer c.all.mu.Unlock()
		delete(c.all.open, c)
		c.all.address.remove(c.address)
		<-c.all.slots
	})
	return err
}

// CloseWrite closes the sending side. net/http calls it before it closes the
// connection, so that a caller whose request was too large can read the response.
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

// past is a deadline that has passed.
var past = time.Unix(1, 0)

// deadline is stored here and set on the connection only when it has passed.
type deadline struct {
	mu     sync.Mutex
	at     time.Duration // since connections.start; 0 for none
	passed bool          // it has been set on the connection
}

func (d *deadline) set(t time.Time, all *connections, apply func(time.Time) error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.at = 0
	if !t.IsZero() {
		d.at = t.Sub(all.start)
		if d.at <= time.Duration(all.now.Load()) {
			d.at, d.passed = 0, true
			return apply(past)
		}
	}
	if d.passed {
		d.passed = false
		return apply(time.Time{})
	}
	return nil
}

// check sets the deadline on the connection if it has passed.
func (d *deadline) check(now time.Duration, apply func(time.Time) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.at == 0 || d.at > now {
		return
	}
	d.at, d.passed = 0, true
	_ = apply(past) // it fails only if the connection is closed
}
