package wire

import (
	"net/netip"
	"strings"
)

// IsLoopback reports whether host, without a port and brackets, can only be this
// machine: the name localhost, or a loopback address (127.0.0.0/8, ::1, also mapped to
// IPv6). Every other name is looked up, and every other notation of an address is read
// in more than one way, so that neither is certain to stay on this machine.
func IsLoopback(host string) bool {
	if strings.ToLower(host) == "localhost" { // EqualFold would accept letters beyond ASCII
		return true
	}
	address, err := netip.ParseAddr(host)
	return err == nil && address.Unmap().IsLoopback()
}
