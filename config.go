package latchkey

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/outbound"
	"github.com/latchkey/latchkey/internal/wire"
)

// Version is the version of this client, which the default user agent includes.
const Version = "0.1.0"

// defaultTimeout allows for a slow login (servers hash passwords slowly on purpose, and
// may queue) after a fetch of the access token.
const defaultTimeout = 30 * time.Second

// Config is the service, the credentials and the options of a Client. APIKey and
// APISecret are required unless AccessToken is set; the zero value of every other
// field is its default.
type Config struct {
	// BaseURL is the scheme, the host and, if the API is behind a proxy, a path prefix.
	// Default: https://thingspace.verizon.com.
	BaseURL string
	// AllowPlaintext permits http:// to hosts other than this one. Passwords and
	// tokens are then sent in the clear. http:// to localhost, 127.0.0.0/8 and ::1
	// is always allowed.
	AllowPlaintext bool

	// Hosts are further hosts that Client.Do sends both tokens to, each with the name of
	// its session token header ("" for VZ-M2M-Token):
	// {"imp.thingspace.verizon.com": "SessionToken"}. Names are exact, with a port if
	// it is not 443, and requests use https://, or http:// on this machine. Default: if
	// BaseURL is ProductionURL, imp.thingspace.verizon.com and 5gedge.verizon.com, or
	// else none. A map that is not nil replaces the default.
	Hosts map[string]string

	// APIKey and APISecret identify the program (OAuth 2.0 client credentials).
	APIKey    string
	APISecret Secret
	// AccessToken, if set, returns the access token instead of the token endpoint, for
	// programs that have it from another source. The Client caches what it returns until
	// shortly before ExpiresAt (a zero ExpiresAt: not at all), and calls it again after
	// InvalidateAccessToken: then it must return another token. Its calls do not
	// overlap; ctx is bounded by Timeout. Its errors must show no secret.
	// APIKey and APISecret are then needed for RevokeAccessToken only.
	AccessToken func(ctx context.Context) (AccessToken, error)
	// Scopes are the scopes of the access token. Default: none are requested.
	Scopes []string

	// HTTPClient sends the requests. Default: one with verified TLS, proxies from the
	// environment, timeouts, and pings that detect a dead HTTP/2 connection within 15
	// seconds. It is copied;
	// redirects are not followed whatever its CheckRedirect says, because they
	// would send the credentials elsewhere.
	//
	// If proxies come from the environment, HTTPS_PROXY, HTTP_PROXY, ALL_PROXY or
	// NO_PROXY with a value that cannot be read is an error of NewClient,
	// because net/http ignores such a value. (net/http does not use ALL_PROXY.)
	//
	// Logins and resets go through a copy of its Transport that opens a
	// connection for each, over HTTP/1.1, so that none is ever repeated. That
	// requires an *http.Transport; a RoundTripper of another type is used as it is,
	// and must not retry.
	HTTPClient *http.Client
	// UserAgent is the User-Agent of every request. Default: "latchkey-go/" and the Version.
	UserAgent string
	// Timeout bounds each operation as a whole, as the caller's context does.
	// Default: 30 seconds.
	Timeout time.Duration
	// Log, if set, receives one line for each operation and each request for an access
	// token: the operation, method, path, status, duration, request ID, and the kind of
	// failure. No line has a query, a body, a header, a token or a password in it.
	Log *slog.Logger
	// Now is the clock for the lifetime of the access token.
	// Default: time.Now.
	Now func() time.Time
}

// resolve fills in the defaults and returns the parsed base URL and the further hosts
// by their keys, or an error that lists everything that is wrong, one per line.
func (c Config) resolve() (*Config, *url.URL, map[string]string, error) {
	var faults []error
	fault := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf("latchkey: Config."+format, args...))
	}
	if c.BaseURL == "" {
		c.BaseURL = wire.ProductionBaseURL
	}
	base, problem := parseBaseURL(c.BaseURL, c.AllowPlaintext)
	if problem != "" {
		fault("BaseURL %s", problem)
	}
	if c.Hosts == nil && base != nil && base.Scheme == "https" && hostKey(base) == vendorsHost+":443" {
		c.Hosts = vendorHosts()
	}
	hosts, name, problem := parseHosts(c.Hosts, base)
	if problem != "" {
		fault("Hosts[%q] %s", name, problem)
	}
	needsKey := c.AccessToken == nil || c.APIKey != "" || c.APISecret != ""
	switch {
	case !needsKey:
	case c.APIKey == "":
		fault("APIKey is missing")
	case !isToken(c.APIKey) || strings.Contains(c.APIKey, ":"):
		fault("APIKey may hold printable ASCII characters only, and no colon")
	}
	switch {
	case !needsKey:
	case c.APISecret == "":
		fault("APISecret is missing")
	case strings.ContainsFunc(c.APISecret.Reveal(), isControl):
		fault("APISecret holds a control character; is there a line break at its end?")
	}
	for i, scope := range c.Scopes {
		if !isToken(scope) || strings.ContainsAny(scope, `"\`) { // RFC 6749, section 3.3
			fault("Scopes[%d] is not a scope: %q", i, scope)
		}
	}
	c.Scopes = slices.Clone(c.Scopes)
	if c.HTTPClient == nil {
		c.HTTPClient = &http.Client{Transport: outbound.Renew(newTransport())}
	}
	if err := outbound.CheckProxies(c.HTTPClient.Transport); err != nil {
		for line := range strings.SplitSeq(err.Error(), "\n") {
			faults = append(faults, errors.New("latchkey: "+line))
		}
	}
	if c.UserAgent == "" {
		c.UserAgent = "latchkey-go/" + Version
	}
	if strings.ContainsFunc(c.UserAgent, isControl) {
		fault("UserAgent holds a control character")
	}
	if c.Timeout == 0 {
		c.Timeout = defaultTimeout
	}
	if c.Timeout < 0 {
		fault("Timeout is negative: %v", c.Timeout)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return &c, base, hosts, errors.Join(faults...)
}

// parseBaseURL returns the URL, or what is wrong with it. It does not repeat the URL,
// which may hold a password.
func parseBaseURL(raw string, allowPlaintext bool) (*url.URL, string) {
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return nil, "is not a URL"
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, "must begin with https:// (or http://)"
	case u.Hostname() == "":
		return nil, "names no host"
	case u.User != nil:
		return nil, "must not hold a user name or a password"
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, "must not hold a query or a fragment"
	case u.Scheme == "http" && !wire.IsLoopback(u.Hostname()) && !allowPlaintext:
		return nil, "is http:// to another host, so that passwords and tokens would travel in the clear; " +
			"use https://, or set AllowPlaintext if the network is yours"
	}
	return u.JoinPath("/"), ""
}

// isToken reports whether s is valid as one word of a header.
func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }
