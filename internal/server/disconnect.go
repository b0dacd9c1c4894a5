package server

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
)

// connKey is the key of a request's *conn in its context.
type connKey struct{}

// withConn stores the connection in the context of its requests. It is for
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

// untilDisconnect returns a context that ends when the caller of r disconnects.
//
// The request's own context ends earlier: net/http cancels it at the end of the
// incoming stream, but a caller may close its sending side after the request and wait
// for the response. The returned context ends only if the connection broke or was
// closed here. On HTTP/2 it is the request's context, which ends if the caller cancels
// the request. Until the response is written, a caller that closed both sides looks
// like one that closed its sending side.
func untilDisconnect(r *http.Request) (context.Context, context.CancelFunc) {
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
