package server

import (
	"context"
	"net"
	"net/http"

	"github.com/latchkey/latchkey/internal/wire"
)

type peerKey struct{}

// withPeer stores in the context of a connection's requests which user of this machine
// connected, if the system reports it. It is for http.Server.ConnContext of a server on
// a Unix socket.
func withPeer(ctx context.Context, c net.Conn) context.Context {
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
	uid, _ := r.Context().Value(peerKey{}).(string)
	return wire.OperatorAddress(uid)
}

// forOperators returns next for the admin socket: RemoteAddr names the operator, the
// request has exactly one request ID, and its context ends when the operator disconnects.
func forOperators(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := untilDisconnect(r)
		defer cancel()
		r = r.WithContext(ctx)
		r.RemoteAddr = operator(r)
		r.Header.Set(wire.HeaderRequestID, requestID(r))
		next.ServeHTTP(w, r)
	})
}
