package server

import (
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/latchkey/latchkey/internal/wire"
)

// isTrusted reports whether a request without credentials runs as the user of
// Config.TrustLocal.
//
// A request over a Unix socket does, because the mode of the socket's file decides who
// can connect. Over TCP, a loopback peer and a loopback Host prove nothing, because a
// proxy on this machine sends both for all of its clients. So the request must carry
// the header Latchkey-Local with the user's name, which no proxy adds, and which a web
// page cannot add without a preflight request that fails. The request must have no sign
// of a proxy or a browser. HTTP/1.0 is such a sign, because nginx uses it for the
// services behind it. If proxies are expected at all (Config.TrustedProxies), TCP is
// not trusted.
//
// The header is not a secret, and a proxy that passes on unknown headers passes it on.
// An operator of such a proxy must remove the header there, or use the socket.
func (s *Server) isTrusted(r *http.Request) bool {
	if s.local == "" || isForAnother(r.Header) {
		return false
	}
	names := r.Header[wire.HeaderLocal]
	if len(names) > 0 && (len(names) > 1 || names[0] != s.local && names[0] != headerValue(s.local)) {
		return false
	}
	if isUnix(r) {
		return true
	}
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && peer.Addr().Unmap().IsLoopback() && wire.IsLoopback(hostOf(r)) &&
		len(names) == 1 && r.ProtoAtLeast(1, 1) && len(s.proxies) == 0
}

// isForAnother reports whether a request carries credentials, or headers that show
// that a proxy made it for another caller, or a browser for a web page.
func isForAnother(header http.Header) bool {
	for name := range header {
		switch wire.FamilyOf(name) {
		case wire.Credential, wire.Forwarding:
			return true
		case wire.Own:
			if name != wire.HeaderLocal {
				return true // proxies pass these on
			}
		}
		if name == "Origin" || name == "Referer" || strings.HasPrefix(name, "Sec-") {
			return true
		}
	}
	return false
}

// hostOf returns the host that a request is addressed to, without its port.
func hostOf(r *http.Request) string { return (&url.URL{Host: r.Host}).Hostname() }
