package latchkey

import (
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/latchkey/latchkey/internal/wire"
)

// SessionHeader returns the name of the header in which a request to u carries the
// session token, and whether the Client sends the tokens to u at all: it does if u is under
// Config.BaseURL, or at one of Config.Hosts.
func (c *Client) SessionHeader(u *url.URL) (name string, ok bool) {
	if name, ok = c.sessionHeader(u); !ok {
		return "", false
	}
	return name, true
}

func (c *Client) sessionHeader(u *url.URL) (name string, ok bool) {
	if u == nil || u.Opaque != "" || u.User != nil || !cleanPath(u.Path) {
		return "", false
	}
	host := hostKey(u)
	if u.Scheme == c.base.Scheme && (u.Host == c.base.Host || host != "" && host == hostKey(c.base)) {
		return wire.HeaderSessionToken, strings.HasPrefix(u.Path, c.base.Path) || u.Path+"/" == c.base.Path
	}
	name, ok = c.hosts[host] // "" is no key
	return name, ok && (u.Scheme == "https" || u.Scheme == "http" && wire.IsLoopback(u.Hostname()))
}

// hostKey returns the host and the port of u in the one form in which they are compared;
// "" if they cannot be those of a host that the tokens may go to. A name that is not
// ASCII is none, because two libraries may read it as two hosts.
func hostKey(u *url.URL) string {
	host, port := u.Hostname(), u.Port()
	if !isHostName(host) || strings.HasSuffix(u.Host, ":") {
		return ""
	}
	if port == "" {
		port = map[string]string{"https": "443", "http": "80"}[u.Scheme]
	}
	return strings.ToLower(host) + ":" + port
}

// isHostName reports whether host is an address, or a name of letters, digits, hyphens,
// underscores and dots that does not end in a dot.
func isHostName(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	return host != "" && host[0] != '.' && host[len(host)-1] != '.' && !strings.Contains(host, "..") &&
		!strings.ContainsFunc(host, func(r rune) bool {
			return r != '-' && r != '.' && r != '_' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
		})
}

// cleanPath reports whether path has no dot segment, which would lead elsewhere than
// where the path seems to.
func cleanPath(path string) bool {
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "." || segment == ".." {
			return false
		}
	}
	return true
}

// parseHosts returns hosts by their keys, or what is wrong with one of them.
func parseHosts(hosts map[string]string, base *url.URL) (byKey map[string]string, name, problem string) {
	byKey = make(map[string]string, len(hosts))
	for name, header := range hosts {
		if header == "" {
			header = wire.HeaderSessionToken
		}
		u := &url.URL{Scheme: "https", Host: name}
		key := hostKey(u)
		port, err := strconv.ParseUint(u.Port(), 10, 16)
		switch {
		case key == "" || u.Port() != "" && (err != nil || port == 0) || u.Port() == "" && strings.HasSuffix(name, ":"):
			return nil, name, "is not the name of a host, with a port if it is not 443: ASCII, no scheme, no path, no pattern"
		case base != nil && key == hostKey(base):
			return nil, name, "is the host of BaseURL"
		case !isHeaderName(header) || strings.EqualFold(header, "Authorization"):
			return nil, name, "wants the session token in a header that cannot carry it"
		case byKey[key] != "":
			return nil, name, "is named twice"
		}
		byKey[key] = header
	}
	return byKey, "", ""
}

// isHeaderName reports whether name is made of what the vendor's header names are made of.
func isHeaderName(name string) bool {
	return name != "" && !strings.ContainsFunc(name, func(r rune) bool {
		return r != '-' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	})
}
