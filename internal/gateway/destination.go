package gateway

import (
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/latchkey/latchkey/internal/wire"
)

// Host is a further host of the upstream. A request to wire.PathHosts, its name and a path
// goes to that path there.
type Host struct {
	Name string // of lower-case letters, digits and hyphens
	URL  string // scheme and host, no path
}

// destination is the upstream itself or one of its further hosts.
type destination struct {
	base   *url.URL
	prefix string // the path of base, without a slash at its end
	origin origin
	// named is the origin for callers that use the further host's name for the gateway.
	// Every path is that of the host then, so none leads to the upstream itself.
	named origin
}

func newDestination(base *url.URL) *destination {
	return &destination{base: base, prefix: strings.TrimSuffix(base.JoinPath("/").Path, "/"), origin: originOf(base)}
}

// addHosts adds the destinations of hosts. Each origin gets a list of all, so that
// references between them lead to the gateway as well.
func (g *Gateway) addHosts(hosts []Host) error {
	all := []*origin{&g.upstream.origin}
	for _, host := range hosts {
		base, err := url.Parse(host.URL)
		switch {
		case err != nil || !isOrigin(base):
			return fmt.Errorf("gateway: the URL of the further host %q must be a scheme and a host", host.Name)
		case host.Name == "" || strings.Trim(host.Name, "abcdefghijklmnopqrstuvwxyz0123456789-") != "":
			return fmt.Errorf("gateway: the name %q of a further host must consist of lower-case letters, digits and hyphens",
				host.Name)
		case g.hosts[host.Name] != nil:
			return fmt.Errorf("gateway: two further hosts are named %q", host.Name)
		}
		d := newDestination(base)
		d.origin.mount = wire.PathHosts + host.Name
		for _, other := range all {
			if other.host == d.origin.host && other.port == d.origin.port {
				return fmt.Errorf("gateway: the further host %q is named twice, or is the upstream itself", host.Name)
			}
		}
		g.hosts[host.Name] = d
		all = append(all, &d.origin)
	}
	upstream := *all[0]
	upstream.away = true
	for _, o := range all {
		o.all = all
	}
	for _, d := range g.hosts {
		d.named = d.origin
		d.named.all = append([]*origin{&upstream}, all[1:]...)
	}
	return nil
}

// isOrigin reports whether a URL has nothing but a scheme and a host.
func isOrigin(u *url.URL) bool {
	return u.Host != "" && u.User == nil && strings.Trim(u.Path, "/") == "" && u.RawQuery == "" && u.Fragment == ""
}

// destination returns the destination of a request for u, and the URL that it has there;
// nil if there is no such host.
func (g *Gateway) destination(u *url.URL) (*destination, *url.URL) {
	rest, ok := strings.CutPrefix(u.Path, wire.PathHosts)
	if !ok {
		return &g.upstream, u
	}
	name, _, _ := strings.Cut(rest, "/")
	d := g.hosts[name]
	mount := wire.PathHosts + name
	if d == nil || !strings.HasPrefix(u.EscapedPath(), mount+"/") {
		return nil, nil
	}
	there := *u
	there.Path, there.RawPath = strings.TrimPrefix(u.Path, mount), strings.TrimPrefix(u.RawPath, mount)
	return d, &there
}

// originFor returns the origin that resolves the references in the response to r.
func (g *Gateway) originFor(r *http.Request) *origin {
	d, _ := g.destination(r.URL) // check refuses a request without a destination
	if d.origin.mount != "" && g.HostNamed(r.Host) != "" {
		return &d.named
	}
	return &d.origin
}

// HostNamed returns the name of the further host that a Host header names; "" for none. A
// port in it is the gateway's own, unless the host has one. A final dot is ignored. An
// address matches only with the host's port, because it may be the gateway's own.
func (g *Gateway) HostNamed(host string) string {
	asked := url.URL{Host: host}
	hostname := strings.TrimSuffix(asked.Hostname(), ".")
	if hostname == "" {
		return ""
	}
	_, err := netip.ParseAddr(hostname)
	for name, d := range g.hosts {
		if asciiEqualFold(hostname, strings.TrimSuffix(d.base.Hostname(), ".")) &&
			(asked.Port() == d.base.Port() || err != nil && d.base.Port() == "") {
			return name
		}
	}
	return ""
}

// asciiEqualFold is strings.EqualFold for ASCII: a long s does not equal an s.
func asciiEqualFold(a, b string) bool { return isASCII(a) && isASCII(b) && strings.EqualFold(a, b) }

// check returns why a request is not forwarded, or nil. It also checks the path at the
// destination.
func (g *Gateway) check(r *http.Request) *httpError {
	if problem := checkRequest(r); problem != nil {
		return problem
	}
	d, there := g.destination(r.URL)
	if d == nil || there != r.URL && isLocal(there.Path) {
		return notFound
	}
	return nil
}
