package server

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
)

// connKey is the key of a request's *conn in its context.
type connKey struct{}

// withConn notes the connection in the context of its requests. It is for
// http.Server.ConnContext.
func withConn(ctx context.Context, c net.Conn) context.Context {
	if c, ok := plainConn(c); ok {
		return context.WithValue(ctx, connKey{}, c)
	}
	return ctx
}

// plainConn returns the connection that a listener of connections accepted.
func plainConn(c net.Conn) (*conn, bool) {
	if secure, ok := c.(*tls.Conn); ok {
		c = secure.NetConn()
	}
	plain, ok := c.(*conn)
	return plain, ok
}

// untilLeft returns the request's context without what net/http takes for a
// cancellation and is none: it cancels the context when it reads the end of the
// connection, although a caller may close its sending side after the request and
// wait for the response. The returned context is canceled only if the connection
// broke or was closed here; on HTTP/2, as the request's, if the caller canceled the
// request. A caller that closed both sides cannot be told from one that closed its
// sending side before the response is written.
func untilLeft(r *http.Request) (context.Context, context.CancelFunc) {
	ctx := r.Context()
	c, ok := ctx.Value(connKey{}).(*conn)
	if !ok || r.ProtoMajor > 1 || ctx.Err() != nil && c.gone.Load() {
		return ctx, func() {}
	}
	lasting, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		if c.gone.Load() {
			cancel()
		}
	})
	return lasting, func() { stop(); cancel() }
}

// errSaidNothing is why a TLS handshake failed with a caller that sent no byte, as
// health checks of the port do.
var errSaidNothing = errors.New("the caller sent nothing")

// Read implements net.Conn.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.heard = true
	}
	if err == nil {
		return n, nil
	}
	if !errors.Is(err, io.EOF) && !errors.Is(err, os.ErrDeadlineExceeded) {
		c.gone.Store(true)
	}
	if c.secure && !c.heard {
		err = errSaidNothing
	}
	return n, err
}
