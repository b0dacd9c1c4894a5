package server

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// maxHops bounds the addresses that are read from X-Forwarded-For.
const maxHops = 64

// address returns the caller's address, without the port. X-Forwarded-For is trusted
// only from trusted proxies. It is read from its end: the first address that is not a
// trusted proxy is the caller's, and a caller may have invented what precedes it. An
// element that cannot be parsed ends the reading and is logged. Forwarded is ignored,
// because a proxy that does not know it passes on what the caller sent.
func (s *Server) address(r *http.Request) string {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		if isUnix(r) {
			return "local socket"
		}
		return ""
	}
	address := peer.Addr().Unmap().WithZone("")
	if len(s.proxies) == 0 || !s.isProxy(address) {
		return address.String()
	}
	read := 0
	for _, line := range slices.Backward(r.Header["X-Forwarded-For"]) {
		for rest := line; rest != ""; {
			comma := strings.LastIndexByte(rest, ',')
			hop := strings.Trim(rest[comma+1:], " \t")
			rest = rest[:max(comma, 0)]
			if hop == "" {
				continue
			}
			next, ok := parseHop(hop)
			if read++; !ok || read > maxHops {
				s.warnForwardedFor(r.RemoteAddr, line)
				return address.String()
			}
			if address = next; !s.isProxy(address) {
				return address.String()
			}
		}
	}
	return address.String()
}

// parseHop parses one element of X-Forwarded-For: an address, which proxies may write
// with a port, brackets, quotes or a zone.
func parseHop(hop string) (netip.Addr, bool) {
	if inner, ok := strings.CutPrefix(hop, `"`); ok {
		if hop, ok = strings.CutSuffix(inner, `"`); !ok {
			return netip.Addr{}, false
		}
	}
	address, err := netip.ParseAddr(hop)
	if err != nil {
		var pair netip.AddrPort
		pair, err = netip.ParseAddrPort(hop)
		address = pair.Addr()
	}
	if inner, ok := strings.CutPrefix(hop, "["); err != nil && ok && strings.HasSuffix(inner, "]") {
		address, err = netip.ParseAddr(strings.TrimSuffix(inner, "]"))
	}
	return address.Unmap().WithZone(""), err == nil
}

const (
	// forwardedForInterval is how often an X-Forwarded-For that cannot be parsed is
	// logged, and forwardedForBytes how much of it.
	forwardedForInterval = time.Hour
	forwardedForBytes    = 100
)

// warnForwardedFor logs that the X-Forwarded-For of a trusted proxy cannot be parsed.
func (s *Server) warnForwardedFor(proxy, value string) {
	now, last := time.Now().UnixNano(), s.forwardedForLogged.Load()
	if last != 0 && now-last < int64(forwardedForInterval) || !s.forwardedForLogged.CompareAndSwap(last, now) {
		return
	}
	if len(value) > forwardedForBytes {
		value = "…" + value[len(value)-forwardedForBytes:] // it is read from the end
	}
	s.log.Warn("the X-Forwarded-For of a trusted proxy cannot be parsed; the proxy's address is recorded for its callers",
		"proxy", proxy, "value", strings.ToValidUTF8(value, "\ufffd"))
}

// unmapped returns prefixes, with IPv4-mapped IPv6 networks converted to IPv4.
func unmapped(prefixes []netip.Prefix) []netip.Prefix {
	plain := slices.Clone(prefixes)
	for i, p := range plain {
		if p.Addr().Is4In6() && p.Bits() >= 96 {
			plain[i] = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
	}
	return plain
}

func (s *Server) isProxy(address netip.Addr) bool {
	return slices.ContainsFunc(s.proxies, func(p netip.Prefix) bool { return p.Contains(address) })
}

// isUnix reports whether a request came over a Unix socket.
func isUnix(r *http.Request) bool {
	local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	return ok && local.Network() == "unix"
}
