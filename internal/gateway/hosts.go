package gateway

import (
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/latchkey/latchkey/internal/wire"
)

// Host is a further host of the upstream: requests to wire.PathHosts, its name and a
// path go to that path there.
type Host struct {
	Name string // of lower-case letters, digits and hyphens
	URL  string // scheme and host, no path
}

// destination is where requests go: the upstream itself, or one of its further hosts.
type destination struct {
	base   *url.URL
	prefix string // the path of base, without a slash at its end
	origin origin
	// named is the origin for those who call the gateway by the name of a further host.
	// Every path that they see is that of the host, so none leads to the upstream itself.
	named origin
}

func newDestination(base *url.URL) *destination {
	return &destination{base: base, prefix: strings.TrimSuffix(base.JoinPath("/").Path, "/"), origin: originOf(base)}
}

// addHosts makes the destinations of hosts, and lets each origin know the others, so
// that a reference from one to another leads to the gateway as well.
func (g *Gateway) addHosts(hosts []Host) error {
	all := []*origin{&g.upstream.origin}
	for _, host := range hosts {
		base, err := url.Parse(host.URL)
		switch {
		case err != nil || base.Host == "" || base.User != nil || strings.Trim(base.Path, "/") != "" || base.RawQuery != "" || base.Fragment != "":
			return fmt.Errorf("gateway: the URL of the further host %q must be a scheme and a host", host.Name)
		case host.Name == "" || strings.Trim(host.Name, "abcdefghijklmnopqrstuvwxyz0123456789-") != "":
			return fmt.Errorf("gateway: the name %q of a further host is not made of lower-case letters, digits and hyphens", host.Name)
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

// destination returns where a request for u goes, and the URL that it has there; nil if
// there is no such host.
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

// originFor returns the origin by which the references in the response to r are read.
func (g *Gateway) originFor(r *http.Request) *origin {
	d, _ := g.destination(r.URL) // which there is, or else the request would have been refused
	if d.origin.mount != "" && g.HostNamed(r.Host) != "" {
		return &d.named
	}
	return &d.origin
}

// HostNamed returns the name of the further host that the Host header of a request
// names; "" for none. A port in it is the gateway's own, unless the host has one. A dot
// at the end of the name is that of the root. An address says nothing, because the
// gateway may be called by it.
func (g *Gateway) HostNamed(host string) string {
	asked := url.URL{Host: host}
	hostname := strings.TrimSuffix(asked.Hostname(), ".")
	if hostname == "" {
		return ""
	}
	_, err := netip.ParseAddr(hostname)
	for name, d := range g.hosts {
		if asciiEqualFold(hostname, strings.TrimSuffix(d.base.Hostname(), ".")) && (asked.Port() == d.base.Port() || err != nil && d.base.Port() == "") {
			return name
		}
	}
	return ""
}

// asciiEqualFold is strings.EqualFold for host names: a long s is not an s.
func asciiEqualFold(a, b string) bool { return isASCII(a) && isASCII(b) && strings.EqualFold(a, b) }

// refused is the function of that name for what is at the destination.
func (g *Gateway) refused(r *http.Request) *failure {
	if problem := refused(r); problem != nil {
		return problem
	}
	d, there := g.destination(r.URL)
	if d == nil || there != r.URL && isLocal(there.Path) {
		return notFound
	}
	return nil
}
