package server

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// maxHops bounds the addresses that are read of one X-Forwarded-For.
const maxHops = 64

// address is where a request came from, without the port. What X-Forwarded-For says
// is believed of trusted proxies only: read from its end, the first address that is
// none of theirs is the caller's; what stands before it the caller may have made up.
// An element that cannot be read ends the reading, and is logged. Forwarded is not
// read: a proxy that does not know it passes on what the caller made up.
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
				s.complain(r.RemoteAddr, line)
				return address.String()
			}
			if address = next; !s.isProxy(address) {
				return address.String()
			}
		}
	}
	return address.String()
}

// parseHop reads one element of X-Forwarded-For: an address, and what proxies put
// around it: a port behind it, brackets, quotes, a zone.
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
	// complaintPause is how often an X-Forwarded-For that cannot be read is logged,
	// and complaintBytes how much of it.
	complaintPause = time.Hour
	complaintBytes = 100
)

// complain logs that the X-Forwarded-For of a trusted proxy cannot be read.
func (s *Server) complain(proxy, value string) {
	now, last := time.Now().UnixNano(), s.complained.Load()
	if last != 0 && now-last < int64(complaintPause) || !s.complained.CompareAndSwap(last, now) {
		return
	}
	if len(value) > complaintBytes {
		value = "…" + value[len(value)-complaintBytes:] // it is read from the end
	}
	s.log.Warn("the X-Forwarded-For of a trusted proxy cannot be read; the proxy's address is recorded for its callers",
		"proxy", proxy, "value", strings.ToValidUTF8(value, "\ufffd"))
}

// unmapped returns prefixes with IPv4 networks that are written as IPv6 as IPv4.
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
