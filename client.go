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

// Client speaks to one service with one API key. Make it with NewClient. It is
// safe for concurrent use, and meant to be shared: all callers use one access
// token and one pool of connections.
type Client struct {
	// SessionManagement holds the operations: log in, log out, reset the password.
	SessionManagement *SessionManagementController

	config *Config          // a pointer, so that printing a Client does not reach the secret
	clock  func() time.Time // Config.Now as it was given
	base   *url.URL
	conns  transports
	tokens tokenCache
}

// NewClient makes a Client. It does not use the network. The error lists every
// fault of the configuration, one to a line.
func NewClient(config Config) (*Client, error) {
	resolved, base, err := config.resolve()
	if err != nil {
		return nil, err
	}
	c := &Client{config: resolved, clock: config.Now, base: base, conns: newTransports(resolved.HTTPClient)}
	c.SessionManagement = &SessionManagementController{client: c}
	c.tokens.now = resolved.Now
	c.tokens.fetch = c.fetchAccessToken
	return c, nil
}

// isVendors reports whether the Client speaks to the vendor's own service.
func (c *Client) isVendors() bool {
	host := strings.TrimSuffix(c.base.Hostname(), ".") // a name may end in the root's dot
	return strings.EqualFold(host, strings.TrimPrefix(wire.ProductionBaseURL, "https://"))
}

// Format implements fmt.Formatter: it shows where the client points to, whatever
// the verb, and never whom it speaks as.
func (c *Client) Format(f fmt.State, _ rune) {
	if c == nil {
		_, _ = io.WriteString(f, "latchkey.Client(nil)")
		return
	}
	_, _ = fmt.Fprintf(f, "latchkey.Client(%s)", c.base)
}

// CloseIdleConnections closes the connections that no request uses. The Client
// goes on working.
func (c *Client) CloseIdleConnections() {
	c.conns.shared.CloseIdleConnections()
	c.conns.once.CloseIdleConnections()
}

// HTTPClient returns a copy of Config.HTTPClient, or of the default, for requests
// that are to go the same way. Nothing adds a token to them.
func (c *Client) HTTPClient() *http.Client {
	client := *c.config.HTTPClient
	client.Transport = c.conns.shared.Transport
	return &client
}

// Clock returns Config.Now; nil if the Client uses the system's clock.
func (c *Client) Clock() func() time.Time { return c.clock }

// Do sends any request of the API, with the bearer and, unless it is empty, the
// session token in their headers, and answers what came, of whatever status; see
// [ErrorFromResponse]. req.URL may be relative to Config.BaseURL ("/api/m2m/…");
// any other host is refused, because the tokens would go there. Accept and
// User-Agent are filled in where they are missing.
//
// The caller closes the response's body. Only req's context bounds the time,
// since a body may be long. Redirects are not followed and nothing is sent
// again by Do; a login or a reset is sent on a connection of its own, as
// [Client.SessionManagement] does, and loses an Idempotency-Key, which transports
// take for leave to repeat it (see [SessionResetPasswordRequest] for a reset with
// one). Errors are as those of the operations.
func (c *Client) Do(req *http.Request, sessionToken Secret) (*http.Response, error) {
	const op = "send request"
	path := req.URL.EscapedPath()
	target, problem := c.target(req.URL)
	if problem == "" && sessionToken != "" && !isToken(sessionToken.Reveal()) {
		problem = "the session token cannot stand in a header"
	}
	var token AccessToken
	var err error
	if problem != "" {
		err = refuse(op, problem)
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
		out.Header.Set(wire.HeaderSessionToken, sessionToken.Reveal())
	}
	r := &request{op: op, method: req.Method, path: path, carries: []Secret{sessionToken, token.Token}}
	for _, precious := range []string{
		wire.PathLogIn, wire.PathLogInAlias, wire.PathResetPassword, wire.PathResetPasswordAlias,
	} {
		r.once = r.once || target.Path == c.base.JoinPath(precious).Path
	}
	resp, _, err := c.deliver(out, r)
	return resp, err
}

// target answers where a request for u goes, or why it goes nowhere.
func (c *Client) target(u *url.URL) (*url.URL, string) {
	if u.Opaque != "" || u.User != nil {
		return nil, "the URL is not a path of the API"
	}
	if u.Host == "" && u.Scheme == "" {
		target := c.base.JoinPath(u.EscapedPath())
		target.RawQuery = u.RawQuery
		return target, ""
	}
	if u.Scheme != c.base.Scheme || !strings.EqualFold(u.Host, c.base.Host) ||
		!strings.HasPrefix(u.Path, c.base.Path) {
		return nil, "the URL does not lie under the base URL " + c.base.String()
	}
	return u, ""
}

// authorized sends r with the access token as its bearer and answers a success,
// or an error.
func (c *Client) authorized(ctx context.Context, r *request) (*answer, error) {
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
		// The gateway refused the bearer before any service saw the request, so
		// even a login could be repeated here without doing it twice. It is not:
		// "a login and a reset are sent once" is a promise that a reader can
		// check on the wire, without exceptions to reason about, and it costs one
		// failed call after somebody revoked the token. The next brings a new one.
		c.InvalidateAccessToken(token.Token)
		if r.once || attempt == 2 {
			return nil, err
		}
	}
}

// bind answers the context that r is to be sent under: ctx, and no longer than
// timeout. For an answer that is told once, ctx counts until the request may be
// on its way, and from then on the timeout alone.
func (r *request) bind(ctx context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	if !r.toldOnce || ctx.Err() != nil {
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
