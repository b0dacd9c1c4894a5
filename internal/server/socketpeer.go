package server

import (
	"context"
	"net"
	"net/http"
)

type peerKey struct{}

// WithPeer stores in the context of a connection's requests which user of this machine
// connected, if the system reports it. It is for http.Server.ConnContext of a server on
// a Unix socket.
func WithPeer(ctx context.Context, c net.Conn) context.Context {
	if wrapped, ok := c.(*conn); ok {
		c = wrapped.Conn
	}
	if socket, ok := c.(*net.UnixConn); ok {
		if uid, ok := peerOf(socket); ok {
			return context.WithValue(ctx, peerKey{}, uid)
		}
	}
	return ctx
}

// operator returns the address of an operator for the audit trail. Over the admin
// socket only the user ID identifies the operator.
func operator(r *http.Request) string {
	if uid, ok := r.Context().Value(peerKey{}).(string); ok {
		return "admin socket, uid " + uid
	}
	return "admin socket"
}
