package server

import (
	"net"
	"net/netip"
)

// addressLimit bounds the connections of one address, so that one caller cannot take all of
// them. A network of IPv6 with 64 bits counts as one address, because one caller has as many
// of its addresses as it likes.
type addressLimit struct {
	most   int
	exempt func(netip.Addr) bool // the addresses of proxies, which connect for many callers
	open   map[netip.Addr]int    // guarded by connections.mu
}

// of returns the address that a connection counts for. It is invalid for connections that
// are not bounded.
func (l *addressLimit) of(c net.Conn) netip.Addr {
	peer, ok := c.RemoteAddr().(*net.TCPAddr)
	if !ok || l.most <= 0 {
		return netip.Addr{}
	}
	address := peer.AddrPort().Addr().Unmap().WithZone("")
	if l.exempt != nil && l.exempt(address) {
		return netip.Addr{}
	}
	if address.Is6() {
		network, _ := address.Prefix(64) // it fails for more bits than there are
		address = network.Addr()
	}
	return address
}

// add counts a connection. It returns false if the address has as many as it may.
func (l *addressLimit) add(address netip.Addr) bool {
	if !address.IsValid() {
		return true
	}
	if l.open[address] >= l.most {
		return false
	}
	l.open[address]++
	return true
}

// remove counts the end of a connection.
func (l *addressLimit) remove(address netip.Addr) {
	if !address.IsValid() {
		return
	}
	if l.open[address]--; l.open[address] == 0 {
		delete(l.open, address)
	}
}
