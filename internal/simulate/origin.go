package simulate

import (
	"mime"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/latchkey/latchkey/internal/wire"
)

// foreign returns why a request may come from a web page, and the status to refuse it with;
// "" if it does not.
//
// Every caller that reaches the controls may use them. A web page that a user opens on the
// same machine reaches them as well: with a form, with a request that needs no consent, or,
// after it made its own name lead to this machine, with any request.
func foreign(r *http.Request, hasBody bool) (status int, problem string) {
	switch {
	case !isOwnHost(r.Host):
		return http.StatusForbidden, "the controls are not served under the name in the Host header, which a web page " +
			"elsewhere may have chosen; use 127.0.0.1 or localhost"
	case !isOwnOrigin(r):
		return http.StatusForbidden, "the controls take no requests of web pages"
	case !isJSON(r.Header.Values("Content-Type"), hasBody):
		return http.StatusUnsupportedMediaType, "the controls take JSON alone; say so in the header Content-Type: " +
			wire.MediaTypeJSON
	}
	return 0, ""
}

// isOwnHost reports whether a Host header names this machine in a way that no page can
// take over: by an address, or by a name that the page's owner has no say in.
func isOwnHost(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if host == "" || host == "localhost" || strings.HasSuffix(host, ".localhost") ||
		net.ParseIP(strings.Trim(host, "[]")) != nil {
		return true
	}
	vendor := strings.TrimPrefix(wire.ProductionBaseURL, "https://")
	if host == vendor || strings.HasSuffix(host, "."+vendor) { // of programs whose hosts file leads here
		return true
	}
	name, err := os.Hostname()
	return err == nil && host == strings.ToLower(name)
}

// isOwnOrigin reports whether a request comes from no page, or from one of this server.
func isOwnOrigin(r *http.Request) bool {
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" && site != "none" {
		return false
	}
	origins := r.Header.Values("Origin")
	if len(origins) == 0 {
		return true
	}
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	origin, err := url.Parse(origins[0])
	return err == nil && len(origins) == 1 && origin.Scheme == scheme && strings.EqualFold(origin.Host, r.Host)
}

// isJSON reports whether a request has no body, or one that says that it is JSON. A
// page can send others without consent.
func isJSON(types []string, hasBody bool) bool {
	if len(types) == 0 {
		return !hasBody
	}
	kind, _, err := mime.ParseMediaType(types[0])
	return err == nil && len(types) == 1 && kind == wire.MediaTypeJSON
}
