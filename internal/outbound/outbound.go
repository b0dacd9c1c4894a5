// Package outbound is what the HTTP transports of latchkey have in common: they detect dead
// connections, renew connections, and do not ignore invalid proxy settings.
package outbound

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"reflect"
	"strconv"
	"strings"
	"time"
)

const (
	// sendPingAfter is how long an HTTP/2 connection is silent before a ping is sent.
	sendPingAfter = 10 * time.Second
	// pingTimeout is how long the response to a ping may take. After it the connection is
	// considered dead.
	pingTimeout = 5 * time.Second
	// writeTimeout is how long a write on an HTTP/2 connection may make no progress. A
	// ping cannot detect that, because it cannot be written either.
	writeTimeout = 15 * time.Second
	// idleTimeout is how long an unused connection is kept.
	idleTimeout = 30 * time.Second
)

// LoseDeadConnections makes t close dead connections. A connection is dead if its other
// end, or a device between the two, has forgotten it without closing it: all data that is
// sent on it is lost. By default, a transport sends requests on such a connection until the
// operating system gives up, which takes a quarter of an hour, or forever if a device
// acknowledges the data. LoseDeadConnections turns on pings for HTTP/2, so that no request
// waits longer than 15 seconds on a dead connection. HTTP/1.1 has no pings: each dead
// connection fails one request, or none if it was unused for 30 seconds. Existing HTTP/2
// settings of t are kept.
func LoseDeadConnections(t *http.Transport) {
	if t.HTTP2 == nil {
		t.HTTP2 = &http.HTTP2Config{}
	}
	t.HTTP2.SendPingTimeout = cmp.Or(t.HTTP2.SendPingTimeout, sendPingAfter)
	t.HTTP2.PingTimeout = cmp.Or(t.HTTP2.PingTimeout, pingTimeout)
	t.HTTP2.WriteByteTimeout = cmp.Or(t.HTTP2.WriteByteTimeout, writeTimeout)
	t.IdleConnTimeout = idleTimeout
}

// CheckProxies returns an error if transport takes its proxies from the environment
// (nil and http.DefaultTransport do) and CheckEnvironment returns one.
func CheckProxies(transport http.RoundTripper) error {
	if transport == nil {
		transport = http.DefaultTransport
	}
	t, ok := Native(transport)
	if !ok || t.Proxy == nil {
		return nil
	}
	if reflect.ValueOf(t.Proxy).Pointer() != reflect.ValueOf(http.ProxyFromEnvironment).Pointer() {
		return nil
	}
	return CheckEnvironment()
}

// CheckEnvironment returns an error that names each of the variables HTTPS_PROXY,
// HTTP_PROXY, ALL_PROXY and NO_PROXY, in upper or lower case, whose value is invalid.
// net/http ignores such a value, so that requests would bypass the proxy. The error does
// not show the value, because it may contain a password.
func CheckEnvironment() error {
	var faults []error
	for _, name := range []string{"HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY"} {
		value := os.Getenv(name)
		if value == "" { // the order of net/http
			name = strings.ToLower(name)
			value = os.Getenv(name)
		}
		check := proxyProblem
		if strings.EqualFold(name, "NO_PROXY") {
			check = exceptionProblem
		}
		if problem := check(value); problem != "" {
			faults = append(faults, fmt.Errorf("the environment variable %s %s; correct it or unset it", name, problem))
		}
	}
	return errors.Join(faults...)
}

// proxyProblem returns why value does not name a proxy, or "" if it does or is empty.
func proxyProblem(value string) string {
	if value == "" {
		return ""
	}
	u, err := url.Parse(value)
	if err != nil || u.Scheme == "" || u.Host == "" {
		u, err = url.Parse("http://" + value) // host:port, as net/http reads it
	}
	switch {
	case err != nil:
		return "is neither the URL of a proxy nor host:port " +
			"(a special character in a user name or a password is written as %XX)"
	case u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "socks5" && u.Scheme != "socks5h":
		return "has a scheme other than http, https, socks5 and socks5h"
	case !isHost(u.Hostname()) || !isPort(u.Port()):
		return "does not name the host and the port of a proxy"
	case u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return "has more than the host and the port of a proxy " +
			"(a special character in a user name or a password is written as %XX)"
	}
	return ""
}

// exceptionProblem returns why value is not a list of hosts, networks and domains.
func exceptionProblem(value string) string {
	position := 0
	for entry := range strings.SplitSeq(value, ",") {
		position++
		entry = strings.TrimSpace(entry)
		if entry == "" || entry == "*" {
			continue
		}
		if problem := entryProblem(entry); problem != "" {
			return fmt.Sprintf("has an entry (number %d of its list) that %s", position, problem)
		}
	}
	return ""
}

// entryProblem returns why entry is not a host, a network or a domain, or "".
func entryProblem(entry string) string {
	if strings.Contains(entry, "/") {
		if _, err := netip.ParsePrefix(entry); err != nil {
			return "is not a network such as 10.0.0.0/8"
		}
		return ""
	}
	host, port := splitPort(entry)
	host = strings.TrimPrefix(strings.TrimPrefix(host, "*"), ".")
	if !isHost(host) || !isPort(port) {
		return "is not a host, an address, a domain or a network"
	}
	return ""
}

// splitPort splits host:port, with an IPv6 address in brackets or, without a port, bare.
func splitPort(entry string) (host, port string) {
	if _, err := netip.ParseAddr(entry); err == nil {
		return entry, ""
	}
	u := url.URL{Host: entry}
	return u.Hostname(), u.Port()
}

// isHost reports whether host is an address or could be the name of a host.
func isHost(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	return host != "" && !strings.ContainsFunc(host, func(r rune) bool {
		return r < 0x80 && r != '-' && r != '.' && r != '_' &&
			(r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	})
}

func isPort(port string) bool {
	if port == "" {
		return true
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n > 0
}
