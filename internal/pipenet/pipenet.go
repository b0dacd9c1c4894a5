// Package pipenet is an in-memory network for synctest, which advances the time only while
// no goroutine waits for a real network.
package pipenet

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Network is an in-memory network and its only listener. It is safe for concurrent use.
type Network struct {
	accept chan net.Conn
	closed chan struct{}
	once   sync.Once

	mu   sync.Mutex
	open []*conn
}

// New returns a new Network.
func New() *Network { return &Network{accept: make(chan net.Conn), closed: make(chan struct{})} }

// Accept implements net.Listener.
func (n *Network) Accept() (net.Conn, error) {
	select {
	case c := <-n.accept:
		return c, nil
	case <-n.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (n *Network) Close() error {
	n.once.Do(func() { close(n.closed) })
	return nil
}

// Addr implements net.Listener.
func (n *Network) Addr() net.Addr { return address{} }

// Dial connects to the listener, whatever the address is. It can be the DialContext of an
// http.Transport. Its errors are *net.OpError with Op "dial".
func (n *Network) Dial(ctx context.Context, _, _ string) (net.Conn, error) {
	near, far := net.Pipe()
	c := newConn(near)
	var err error
	select {
	case n.accept <- newConn(far):
		n.mu.Lock()
		defer n.mu.Unlock()
		n.open = append(n.open, c)
		return c, nil
	case <-ctx.Done():
		err = ctx.Err()
	case <-n.closed:
		err = net.ErrClosed
	}
	return nil, &net.OpError{Op: "dial", Net: "pipe", Err: err}
}

// Forget makes the connections that were dialed so far dead, as if a NAT or a load balancer
// had lost its table: writing succeeds, but the data is lost, and nothing arrives.
func (n *Network) Forget() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range n.open {
		c.dead.Store(true)
	}
}

// Dialed returns the number of connections that were dialed so far.
func (n *Network) Dialed() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.open)
}

// queueLength is the maximum number of writes that wait to be read on a connection.
const queueLength = 64

// conn is one end of a net.Pipe with a send buffer, as operating systems have one. Without
// the buffer, closing a TLS connection waits until the other end reads.
type conn struct {
	net.Conn

	queue  chan []byte
	closed chan struct{}
	gone   chan struct{} // closed when nothing more can be written
	once   sync.Once
	dead   atomic.Bool

	mu      sync.Mutex
	timer   *time.Timer
	expired chan struct{} // closed when the write deadline has passed
}

func newConn(inner net.Conn) *conn {
	c := &conn{
		Conn: inner, queue: make(chan []byte, queueLength),
		closed: make(chan struct{}), gone: make(chan struct{}), expired: make(chan struct{}),
	}
	go c.pump()
	return c
}

// pump writes the queued data, also after Close.
func (c *conn) pump() {
	defer func() { close(c.gone); _ = c.Conn.Close() }()
	for {
		select {
		case p := <-c.queue:
			if _, err := c.Conn.Write(p); err != nil {
				return
			}
		case <-c.closed:
			if len(c.queue) == 0 {
				return
			}
		}
	}
}

// Write implements net.Conn.
func (c *conn) Write(p []byte) (int, error) {
	if c.dead.Load() {
		return len(p), nil
	}
	c.mu.Lock()
	expired := c.expired
	c.mu.Unlock()
	select {
	case <-c.closed:
		return 0, net.ErrClosed
	case <-expired:
		return 0, os.ErrDeadlineExceeded
	default:
	}
	select {
	case c.queue <- bytes.Clone(p):
		return len(p), nil
	case <-c.closed:
		return 0, net.ErrClosed
	case <-c.gone:
		return 0, io.ErrClosedPipe
	case <-expired:
		return 0, os.ErrDeadlineExceeded
	}
}

// SetWriteDeadline implements net.Conn.
func (c *conn) SetWriteDeadline(at time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timer != nil {
		c.timer.Stop()
		c.timer = nil
	}
	select {
	case <-c.expired:
		c.expired = make(chan struct{})
	default:
	}
	if at.IsZero() {
		return nil
	}
	expired := c.expired
	if wait := time.Until(at); wait > 0 {
		c.timer = time.AfterFunc(wait, func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			if c.expired == expired && c.timer != nil {
				close(expired)
				c.timer = nil
			}
		})
		return nil
	}
	close(expired)
	return nil
}

// SetDeadline implements net.Conn.
func (c *conn) SetDeadline(at time.Time) error {
	return errors.Join(c.SetReadDeadline(at), c.SetWriteDeadline(at))
}

// Close implements net.Conn. Queued data can be read for another five seconds.
func (c *conn) Close() error {
	c.once.Do(func() {
		close(c.closed)
		_ = c.SetReadDeadline(time.Unix(1, 0))
		_ = c.Conn.SetWriteDeadline(time.Now().Add(5 * time.Second))
	})
	return nil
}

// RemoteAddr implements net.Conn. It returns an address of the form that servers expect.
func (c *conn) RemoteAddr() net.Addr { return address{} }

type address struct{}

func (address) Network() string { return "tcp" }
func (address) String() string  { return "192.0.2.1:1" }

// Pass advances the time of a synctest bubble by d.
func Pass(d time.Duration) {
	time.Sleep(d) //nolint:forbidigo // the bubble does not really sleep
}
