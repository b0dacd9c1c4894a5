// Package outbound holds what the HTTP transports of latchkey have in common: HTTP/2
// connections that have died are noticed, and proxy settings that cannot be read are
// not ignored.
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
	// sendPingAfter is how long an HTTP/2 connection is silent before it is pinged.
	sendPingAfter = 10 * time.Second
	// pingTimeout is how long a ping may take before the connection counts as dead.
	pingTimeout = 5 * time.Second
	// writeTimeout is how long a write on an HTTP/2 connection may make no progress,
	// because a ping that cannot be written finds nothing out.
	writeTimeout = 15 * time.Second
	// idleTimeout is how long a connection is kept without use.
	idleTimeout = 30 * time.Second
)

// LoseDeadConnections makes t give up connections that are dead: whose other end, or
// something in between, has forgotten them without closing them, so that what is sent
// is lost. Without it, requests are sent on such a connection until the operating system
// gives up, which takes a quarter of an hour, or never happens if something in between
// acknowledges. With it, HTTP/2 connections are pinged, and no request waits longer than
// 15 seconds for a dead one. HTTP/1.1 has no pings: each dead connection costs one
// request, and after 30 seconds without use it costs none. Settings of HTTP/2 that t has
// already are kept.
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
	if !ok || t.Proxy == nil || reflect.ValueOf(t.Proxy).Pointer() != reflect.ValueOf(http.ProxyFromEnvironment).Pointer() {
		return nil
	}
	return CheckEnvironment()
}

// CheckEnvironment returns an error for each of the variables HTTPS_PROXY, HTTP_PROXY,
// ALL_PROXY and NO_PROXY, in upper or lower case, that cannot be read. net/http ignores
// such a value, so that requests would go where they were not meant to. The error shows
// nothing of the value, because a password may be in it.
func CheckEnvironment() error {
	var faults []error
	for _, name := range []string{"HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY"} {
		value := os.Getenv(name)
		if value == "" { // the order in which net/http looks
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

// proxyProblem returns why value does not name a proxy; "" if it does, or is empty.
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
		problem := ""
		if strings.Contains(entry, "/") {
			if _, err := netip.ParsePrefix(entry); err != nil {
				problem = "is not a network such as 10.0.0.0/8"
			}
		} else if host, port := splitPort(entry); !isHost(strings.TrimPrefix(strings.TrimPrefix(host, "*"), ".")) || !isPort(port) {
			problem = "is not a host, an address, a domain or a network"
		}
		if problem != "" {
			return fmt.Sprintf("has an entry (number %d of its list) that %s", position, problem)
		}
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
		return r < 0x80 && r != '-' && r != '.' && r != '_' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	})
}

func isPort(port string) bool {
	if port == "" {
		return true
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n > 0
}
