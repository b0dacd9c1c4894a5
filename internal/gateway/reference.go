package gateway

import (
	"net/netip"
	"net/url"
	"strings"

	"golang.org/x/text/unicode/norm"
)

// splitReference splits a URI reference as tolerantly as clients do: backslashes are
// slashes, there may be any number of them, and spaces are ignored. If there is a host,
// rest begins with it, or with the user information before it.
func splitReference(value string) (scheme, rest string, hasHost bool) {
	rest = strings.ReplaceAll(strings.TrimFunc(value, func(r rune) bool { return r <= ' ' }), "\t", "")
	for i := range len(rest) {
		c := rest[i] | 0x20
		if c == ':' && i > 0 {
			scheme, rest = strings.ToLower(rest[:i]), rest[i+1:]
			break
		}
		if (c < 'a' || c > 'z') && (i == 0 || !strings.ContainsRune("0123456789+-.", rune(rest[i]))) {
			break
		}
	}
	behind := strings.TrimLeft(rest, `/\`)
	switch scheme {
	case "http", "https", "ws", "wss":
		return scheme, behind, true
	}
	if len(rest)-len(behind) > 1 {
		return scheme, behind, true
	}
	return scheme, rest, false
}

// plainHost returns the same spelling for all spellings of a host.
func plainHost(host string) string {
	if decoded, err := url.PathUnescape(host); err == nil {
		host = decoded
	}
	host = strings.ReplaceAll(norm.NFKC.String(host), "\u3002", ".") // as clients do
	host = strings.TrimRight(strings.ToLower(host), ".")
	if address, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return address.Unmap().String()
	}
	return host
}

// plainPort returns "" for the default ports of http and https, because a service that
// serves one of them usually redirects from the other.
func plainPort(port string) string {
	port = strings.TrimLeft(port, "0")
	if port == "80" || port == "443" {
		return ""
	}
	return port
}

// splitLinks splits a Link header at the commas outside of references and quoted text.
func splitLinks(value string) (links []string) {
	start, within := 0, byte(0)
	for i := 0; i < len(value); i++ {
		switch c := value[i]; {
		case within == '"' && c == '\\':
			i++
		case within == 0 && c == '<':
			within = '>'
		case within == 0 && c == '"':
			within = '"'
		case within == c:
			within = 0
		case within == 0 && c == ',':
			links, start = append(links, strings.TrimSpace(value[start:i])), i+1
		}
	}
	return append(links, strings.TrimSpace(value[start:]))
}
