package server

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// address is where a request came from, without the port. What X-Forwarded-For says
// is believed of trusted proxies only: read from its end, the first address that is
// none of theirs is the caller's; what stands before it the caller may have made up.
func (s *Server) address(r *http.Request) string {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		if isUnix(r) {
			return "local socket"
		}
		return ""
	}
	address := peer.Addr().Unmap()
	if len(s.proxies) == 0 || !s.isProxy(address) {
		return address.String()
	}
	hops := strings.Split(strings.Join(r.Header["X-Forwarded-For"], ","), ",")
	for _, hop := range slices.Backward(hops) {
		next, err := netip.ParseAddr(strings.TrimSpace(hop))
		if err != nil {
			break
		}
		if address = next.Unmap().WithZone(""); !s.isProxy(address) {
			break
		}
	}
	return address.String()
}

func (s *Server) isProxy(address netip.Addr) bool {
	return slices.ContainsFunc(s.proxies, func(p netip.Prefix) bool { return p.Contains(address) })
}

// isOwn reports whether a request was made on this machine, by a program: not by a
// proxy for somebody else, and not by a browser for a page from elsewhere, which can
// reach this machine as well, be it under a name of its own choice.
func isOwn(r *http.Request) bool {
	if isUnix(r) { // the file's mode says who may
		return true
	}
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !peer.Addr().Unmap().IsLoopback() || !isLoopbackHost(r.Host) {
		return false
	}
	for _, name := range []string{"Origin", "Referer", "Sec-Fetch-Mode", "Sec-Fetch-Site", "Forwarded", "X-Forwarded-For", "X-Real-Ip", "Via"} {
		if r.Header[name] != nil {
			return false
		}
	}
	return true
}

// isUnix reports whether a request came over a Unix socket.
func isUnix(r *http.Request) bool {
	local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	return ok && local.Network() == "unix"
}

func isLoopbackHost(host string) bool {
	if at := strings.LastIndexByte(host, ':'); at > 0 && !strings.HasSuffix(host, "]") {
		host = host[:at]
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	address, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && address.Unmap().IsLoopback()
}
