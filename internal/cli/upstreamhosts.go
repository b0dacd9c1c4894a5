package cli

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/internal/gateway"
	"github.com/latchkey/latchkey/internal/wire"
)

// upstreamHosts are the further hosts of an upstream.
type upstreamHosts struct {
	said    []string // as the flag has it, split at commas
	byName  []gateway.Host
	headers map[string]string // host → header of the session token
}

// noHosts is the value of the flag for no hosts at all.
const noHosts = "none"

// check reads what was said; upstream is the upstream's base URL. It returns what is
// wrong; "" for nothing.
func (h *upstreamHosts) check(upstream string) (problem string) {
	said := h.said
	if len(said) == 0 && upstream == latchkey.ProductionURL {
		said = []string{
			"imp=https://imp.thingspace.verizon.com", "header=" + wire.HeaderSessionTokenIMP,
			"5gedge=https://5gedge.verizon.com",
		}
	}
	h.headers = map[string]string{}
	if len(said) == 1 && said[0] == noHosts {
		return ""
	}
	last := ""
	for _, entry := range said {
		name, value, ok := strings.Cut(entry, "=")
		if name == "header" && ok && last != "" && value != "" {
			h.headers[last] = value
			continue
		}
		base, wrong := parseBase(value, false)
		u, err := url.Parse(base)
		switch {
		case !ok || name == "" || name == "header":
			return "must look like imp=https://imp.thingspace.verizon.com,header=SessionToken"
		case wrong != "":
			return fmt.Sprintf("the URL in %q %s", entry, wrong)
		case err != nil || u.Path != "":
			return fmt.Sprintf("the URL in %q must be a scheme and a host, without a path", entry)
		case base == upstream:
			return fmt.Sprintf("%q has the URL of --upstream, which is served at /api/ already", entry)
		}
		h.byName = append(h.byName, gateway.Host{Name: name, URL: base})
		last = u.Host
		h.headers[last] = ""
	}
	return ""
}
