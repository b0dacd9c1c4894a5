package gateway

import (
	"net/http"
	"net/url"
	"path"
	"strings"

	"github.com/latchkey/latchkey/internal/wire"
)

// origin is the upstream in the references of its responses. A client that followed an
// unchanged reference would send its local tokens past the gateway.
type origin struct {
	host   string // as plainHost returns it
	port   string // as plainPort returns it
	prefix string // of the paths of the upstream, without the slash at the end
	mount  string // the prefix of a further host's paths at the gateway; "" for the upstream
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

// clean removes from the header or the trailer of a response what filter removes, and turns
// references to the upstream into references to the gateway: paths without a host. It
// removes references to paths that the gateway does not forward, or serves itself, and
// keeps references to other hosts.
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

// rewriter returns the function that rewrites the values of a header; nil if no client
// follows a reference in it.
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

// absolute rewrites value as reference does, if it has a host.
func (o *origin) absolute(value string) string {
	if value == "" || !strings.ContainsRune(`hHwW/\`, rune(value[0])) {
		return value
	}
	if _, _, hasHost := splitReference(value); !hasHost {
		return value
	}
	return o.reference(value)
}

// reference returns the equivalent of a URI reference at the gateway; "" if there is none.
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

// local returns the equivalent at the gateway of a path of the upstream with its query and
// fragment. It returns unclear for a path that the gateway refuses.
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
		return "" // the path is not below the upstream's base
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

// isOurs reports whether the gateway serves path itself.
func isOurs(path string) bool {
	lower := strings.ToLower(path)
	return isLocal(path) || lower == "/latchkey" || strings.HasPrefix(lower, "/latchkey/") ||
		lower == wire.PathHealth || lower == wire.PathReady || lower == wire.PathMetrics
}

// links returns the equivalent of a Link header (RFC 8288): "<reference>; rel=next", with
// commas between.
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

// refresh returns the equivalent of a Refresh header: "5; url=reference". It is as tolerant
// as clients are: a comma or a space may replace the semicolon, "url=" may be missing, and
// the reference may be in quotes.
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
