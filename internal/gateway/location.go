package gateway

import (
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"strings"

	"golang.org/x/text/unicode/norm"

	"github.com/latchkey/latchkey/internal/wire"
)

// origin is the upstream as the references in its responses name it. A client that
// followed one as it is would carry its local tokens past the gateway.
type origin struct {
	host   string // as plainHost returns it
	port   string // as plainPort returns it
	prefix string // of the paths of the upstream, without the slash at the end
	mount  string // where the paths of a further host are at the gateway; "" for the upstream
	away   bool   // no path of the gateway leads there
	all    []*origin
}

func originOf(base *url.URL) origin {
	return origin{
		host:   plainHost(base.Hostname()),
		port:   plainPort(base.Port()),
		prefix: strings.TrimSuffix(base.EscapedPath(), "/"),
	}
}

// clean removes from the header or the trailers of a response what stop removes,
// and makes the references to the upstream in it references to the gateway: paths
// without a host. A reference to a page that the gateway does not carry, and has
// another one in its place, is removed. References to other hosts stay as they are.
func (o *origin) clean(header http.Header) {
	for name, values := range header {
		if wire.FamilyOf(name) != wire.Ordinary {
			delete(header, name)
			continue
		}
		rewrite := rewriter(name)
		if rewrite == nil {
			continue
		}
		kept := values[:0]
		for _, value := range values {
			if rewritten := rewrite(o, value); rewritten != "" || value == "" {
				kept = append(kept, rewritten)
			}
		}
		if header[name] = kept; len(kept) == 0 && len(values) > 0 {
			delete(header, name)
		}
	}
}

// rewriter returns what rewrites the values of a header; nil if it may hold the
// upstream's origin without leading a client there.
func rewriter(name string) func(*origin, string) string {
	switch name {
	case "Cache-Control", "Content-Length", "Content-Type", "Date", "Etag", "Server", wire.HeaderRequestID:
		return nil
	case "Refresh":
		return (*origin).refresh
	}
	if strings.HasPrefix(name, "Access-Control-") {
		return nil
	}
	switch {
	case endsIn(name, "link") || endsIn(name, "links"):
		return (*origin).links
	case endsIn(name, "location") || endsIn(name, "uri") || endsIn(name, "url"):
		return (*origin).reference
	}
	return (*origin).absolute
}

func endsIn(name, suffix string) bool {
	at := len(name) - len(suffix)
	return at >= 0 && strings.EqualFold(name[at:], suffix)
}

// absolute returns value as reference does, if it has a host.
func (o *origin) absolute(value string) string {
	if value == "" || !strings.ContainsRune(`hHwW/\`, rune(value[0])) {
		return value
	}
	if _, _, hasHost := splitReference(value); !hasHost {
		return value
	}
	return o.reference(value)
}

// reference returns what a URI reference is at the gateway; "" if it is a page that
// the gateway does not have.
func (o *origin) reference(value string) string {
	scheme, rest, hasHost := splitReference(value)
	if !hasHost {
		if !strings.HasPrefix(rest, "/") || scheme != "" {
			return value
		}
		return o.local(rest, value)
	}
	end := strings.IndexAny(rest, `/\?#`)
	if end < 0 {
		end = len(rest)
	}
	authority := rest[strings.LastIndexByte(rest[:end], '@')+1 : end]
	host, port := authority, ""
	if colon := strings.LastIndexByte(authority, ':'); colon >= 0 && !strings.HasSuffix(authority, "]") {
		host, port = authority[:colon], authority[colon+1:]
	}
	host, port = plainHost(host), plainPort(port)
	for _, other := range o.all {
		if host != other.host || port != other.port {
			continue
		}
		if other.away || scheme != "" && scheme != "http" && scheme != "https" {
			return ""
		}
		return other.local(rest[end:], "")
	}
	return value
}

// local returns what a path of the upstream, with its query and fragment, is at the
// gateway. It returns unclear for a path that the gateway would refuse.
func (o *origin) local(target, unclear string) string {
	end := strings.IndexAny(target, "?#")
	if end < 0 {
		end = len(target)
	}
	encoded, tail := target[:end], target[end:]
	if encoded == "" {
		encoded = "/"
	}
	encoded, ok := strings.CutPrefix(encoded, o.prefix)
	switch {
	case !ok || encoded != "" && encoded[0] != '/':
		return "" // it is not below the upstream's base
	case encoded == "":
		encoded = "/"
	}
	decoded, err := url.PathUnescape(encoded)
	plain := err == nil && isPlain(decoded, encoded)
	switch {
	case o.mount == "" && isOurs(path.Clean(decoded)), isLocal(path.Clean(decoded)):
		return ""
	case !plain && (unclear == "" || o.prefix != "" || o.mount != ""):
		return ""
	case !plain:
		return unclear
	}
	return o.mount + encoded + tail
}

// isOurs reports whether the gateway has a page of its own at path.
func isOurs(path string) bool {
	lower := strings.ToLower(path)
	return isLocal(path) || lower == "/latchkey" || strings.HasPrefix(lower, "/latchkey/") ||
		lower == wire.PathHealth || lower == wire.PathReady || lower == wire.PathMetrics
}

// links returns what a Link header is at the gateway: RFC 8288, "<reference>; rel=next"
// with commas between.
func (o *origin) links(value string) string {
	if !strings.Contains(value, "<") {
		return o.reference(value)
	}
	var kept []string
	for _, link := range splitLinks(value) {
		before, rest, _ := strings.Cut(link, "<")
		reference, after, ok := strings.Cut(rest, ">")
		rewritten := o.reference(strings.TrimSpace(reference))
		switch {
		case !ok:
			kept = append(kept, link)
		case rewritten == strings.TrimSpace(reference):
			kept = append(kept, link)
		case rewritten != "":
			kept = append(kept, before+"<"+rewritten+">"+after)
		}
	}
	return strings.Join(kept, ", ")
}

// splitLinks splits at the commas that are in no reference and no quoted text.
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

// refresh returns what a Refresh header is at the gateway: "5; url=reference". It is as
// tolerant as clients are: a comma or a blank does for the semicolon, "url=" may be
// missing, and the reference may be in quotes.
func (o *origin) refresh(value string) string {
	const blanks = " \t\n\f\r"
	at := strings.IndexAny(value, ";,"+blanks)
	if at < 0 {
		return value
	}
	reference := strings.TrimLeft(value[at:], blanks)
	if reference != "" && (reference[0] == ';' || reference[0] == ',') {
		reference = reference[1:]
	}
	reference = strings.TrimSpace(reference)
	if len(reference) >= 3 && strings.EqualFold(reference[:3], "url") {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(reference[3:]), "="); ok {
			reference = strings.TrimSpace(rest)
		}
	}
	if reference != "" && (reference[0] == '"' || reference[0] == '\'') {
		reference, _, _ = strings.Cut(reference[1:], reference[:1])
	}
	switch rewritten := o.reference(reference); rewritten {
	case reference:
		return value
	case "":
		return ""
	default:
		return value[:at] + "; url=" + rewritten
	}
}

// splitReference splits a URI reference as tolerantly as clients do: a backslash is
// a slash, there may be any number of them, and blanks do not count. If there is a
// host, rest begins with it, or with the user information before it.
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

// plainHost returns one spelling of those that name the same host.
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

// plainPort returns "" for the ports that http and https have by default: a service
// that speaks one of them usually redirects from the other.
func plainPort(port string) string {
	port = strings.TrimLeft(port, "0")
	if port == "80" || port == "443" {
		return ""
	}
	return port
}
