package latchkey

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/wire"
)

// Client sends requests to one service with one API key. Make it with NewClient. It is
// safe for concurrent use. Share it: its callers share one access token and one pool of
// connections.
type Client struct {
	// SessionManagement has LogIn, LogOut and ResetPassword under the vendor's names.
	SessionManagement *SessionManagementController

	config *Config          // a pointer, so that printing a Client does not reach the secret
	clock  func() time.Time // Config.Now, nil if it was not set
	base   *url.URL
	hosts  map[string]string // of Config.Hosts: hostKey → the header of the session token
	conns  transports
	tokens tokenCache
}

// NewClient returns a Client. It does not use the network. The error lists every fault of
// the configuration, one per line.
func NewClient(config Config) (*Client, error) {
	resolved, base, hosts, err := config.resolve()
	if err != nil {
		return nil, err
	}
	c := &Client{
		config: resolved, clock: config.Now, base: base, hosts: hosts, conns: newTransports(resolved.HTTPClient),
	}
	c.SessionManagement = &SessionManagementController{client: c}
	c.tokens.now = resolved.Now
	c.tokens.fetch = c.fetchAccessToken
	if resolved.AccessToken != nil {
		c.tokens.fetch = c.sourceAccessToken
	}
	return c, nil
}

// isVendors reports whether the Client uses the vendor's own service.
func (c *Client) isVendors() bool {
	host := strings.TrimSuffix(c.base.Hostname(), ".") // a name may end in the root's dot
	return strings.EqualFold(host, vendorsHost)
}

// Format implements fmt.Formatter. It writes the base URL and no credentials, whatever
// the verb.
func (c *Client) Format(f fmt.State, _ rune) {
	if c == nil {
		_, _ = io.WriteString(f, "latchkey.Client(nil)")
		return
	}
	_, _ = fmt.Fprintf(f, "latchkey.Client(%s)", c.base)
}

// BaseURL returns the URL that requests go to: the scheme, the host and the path prefix,
// if there is one, with a slash at its end.
func (c *Client) BaseURL() string { return c.base.String() }

// CloseIdleConnections closes the connections that no request uses. The Client remains
// usable.
func (c *Client) CloseIdleConnections() {
	c.conns.shared.CloseIdleConnections()
	c.conns.once.CloseIdleConnections()
}

// HTTPClient returns a copy of Config.HTTPClient, or of the default, for other requests
// over the same transport. It adds no tokens to them.
func (c *Client) HTTPClient() *http.Client {
	client := *c.config.HTTPClient
	client.Transport = c.conns.shared.Transport
	return &client
}

// Clock returns Config.Now; nil if the Client uses the system's clock.
func (c *Client) Clock() func() time.Time { return c.clock }

// Do sends any request of the API, with the bearer and, unless it is empty, the
// session token in their headers, and returns the response, whatever its status; see
// [CheckResponse]. req.URL may be relative to Config.BaseURL ("/api/m2m/…") or an
// absolute URL that [Client.SessionHeader] permits; Do
// sends no other, because the tokens would go there. It adds Accept and User-Agent if they
// are missing.
//
// The caller closes the body of the response. Only the context of req bounds the time,
// because a body may be long. Errors are those of the operations.
//
// Do does not follow redirects and sends nothing a second time. net/http repeats a GET,
// HEAD, OPTIONS or TRACE once if a reused connection breaks before a response begins. It
// does not repeat a request with req.Close, which is sent over HTTP/1.1 on a connection of
// its own. Do sends in the same way a request of any other method with an
// Idempotency-Key, which net/http would repeat, and a login or a reset, without that
// header ([ResetOptions] has the key of a reset).
func (c *Client) Do(req *http.Request, sessionToken Secret) (*http.Response, error) {
	began := time.Now()
	r := &request{op: "send request", method: req.Method, path: req.URL.EscapedPath()}
	resp, err := c.do(req, r, sessionToken)
	c.log(req.Context(), r, began, resp, err)
	return resp, err
}

func (c *Client) do(req *http.Request, r *request, sessionToken Secret) (*http.Response, error) {
	target, header, problem := c.target(req.URL)
	if problem == "" && sessionToken != "" && !isToken(sessionToken.Reveal()) {
		problem = "the session token is not valid in a header"
	}
	var token AccessToken
	var err error
	if problem != "" {
		err = refuse(r.op, problem)
	} else if token, err = c.AccessToken(req.Context()); err != nil {
		err = &AccessTokenError{Err: err}
	}
	if err != nil {
		if req.Body != nil {
			_ = req.Body.Close()
		}
		return nil, err
	}
	out := req.Clone(req.Context())
	out.URL, out.Host = target, ""
	if out.Header == nil {
		out.Header = http.Header{}
	}
	if out.Header.Get("Accept") == "" {
		out.Header.Set("Accept", wire.MediaTypeJSON)
	}
	if out.Header.Get("User-Agent") == "" {
		out.Header.Set("User-Agent", c.config.UserAgent)
	}
	out.Header.Set("Authorization", wire.TokenTypeBearer+" "+token.Token.Reveal())
	if sessionToken != "" {
		out.Header.Set(header, sessionToken.Reveal())
	}
	r.secrets = []Secret{sessionToken, token.Token}
	if target.Host != c.base.Host {
		r.host = target.Host
	}
	if c.isLogInOrReset(target) {
		r.once = true
	} else if req.Close || isKeyed(req) {
		r.once, r.keepsKey = true, true
	}
	resp, _, err := c.deliver(out, r)
	return resp, err
}

// isLogInOrReset reports whether u is that of a login or a reset.
func (c *Client) isLogInOrReset(u *url.URL) bool {
	for _, path := range []string{
		wire.PathLogIn, wire.PathLogInAlias, wire.PathResetPassword, wire.PathResetPasswordAlias,
	} {
		if strings.EqualFold(strings.TrimRight(u.Path, "/"), c.base.JoinPath(path).Path) {
			return true
		}
	}
	return false
}

// isKeyed reports whether net/http would repeat req because of a key in its header.
func isKeyed(req *http.Request) bool {
	switch req.Method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return false // net/http repeats these in any case
	}
	return req.Header.Get(wire.HeaderIdempotency) != "" || req.Header.Get("X-"+wire.HeaderIdempotency) != ""
}

// target returns the URL of a request for u and the name of its session token header, or
// why the request must not be sent.
func (c *Client) target(u *url.URL) (target *url.URL, header, problem string) {
	if u.Host == "" && u.Scheme == "" && u.Opaque == "" && u.User == nil {
		if !cleanPath(u.Path) {
			return nil, "", "the path has a dot segment"
		}
		target = c.base.JoinPath(u.EscapedPath())
		target.RawQuery = u.RawQuery
		return target, wire.HeaderSessionToken, ""
	}
	header, ok := c.SessionHeader(u)
	if !ok {
		return nil, "", "the URL is neither under the base URL " + c.base.String() + " nor at one of Config.Hosts"
	}
	return u, header, ""
}

// authorized sends r with the access token and returns the response if it is a success,
// or an error.
func (c *Client) authorized(ctx context.Context, r *request) (*response, error) {
	ctx, cancel := r.bind(ctx, c.config.Timeout)
	defer cancel()
	for attempt := 1; ; attempt++ {
		token, err := c.AccessToken(ctx)
		if err != nil {
			return nil, &AccessTokenError{Err: err}
		}
		r.authorize(wire.TokenTypeBearer+" "+token.Token.Reveal(), token.Token)
		a, err := c.send(ctx, r)
		if err != nil {
			return nil, err
		}
		err = a.failure()
		if !isBearerRefused(err) {
			return a, err
		}
		// The API gateway refused the access token before a service saw the request, so
		// even a login could be repeated here. It is not: "a login and a reset are sent
		// once" is a promise without exceptions, which a user can check on the wire. It
		// costs one failed call after the token was revoked. The next call fetches another.
		c.InvalidateAccessToken(token.Token)
		if r.once || attempt == 2 {
			return nil, err
		}
	}
}

// bind returns the context of r: ctx with the timeout. If the response holds what exists
// nowhere else, cancellation of ctx counts only until the request may have been sent.
func (r *request) bind(ctx context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	if !r.unrepeatedResult || ctx.Err() != nil {
		return context.WithTimeout(ctx, timeout)
	}
	detached, leave := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { leave(context.Cause(ctx)) })
	r.onSent = func() { stop() }
	bounded, cancel := context.WithTimeout(detached, timeout)
	return bounded, func() {
		stop()
		cancel()
		leave(nil)
	}
}
