package latchkey

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/latchkey/latchkey/internal/wire"
)

const (
	opGetToken    = "get access token"
	opRevokeToken = "revoke access token"
)

// accessTokenMargin is how long before it expires an access token is no longer
// returned from the cache. A request that waits for a connection and a slow server
// as long as an operation may take by default (30 s) still arrives with a live
// token. The other half allows for lifetimes in whole seconds and for clocks that drift.
const accessTokenMargin = time.Minute

const (
	// maxAccessTokenLife bounds a lifetime. The documented one is an hour.
	maxAccessTokenLife = 24 * time.Hour
	// unknownTokenLife is assumed of a token that comes without a readable lifetime
	// (RFC 6749 only recommends one). The service returns the same token until its
	// hour is over, so it may be an old one; another request soon costs little.
	unknownTokenLife = 5 * time.Minute
	// zeroLifeRest is how long a token is cached whose lifetime is 0, also in a second
	// response one second later: such a service does not report lifetimes. A fetch before
	// each request would help no caller, and a refused token is invalidated anyway.
	zeroLifeRest = time.Minute
)

// AccessToken is the bearer token of every request of the API.
type AccessToken struct {
	Token Secret
	// ExpiresAt is by the Client's clock, and early rather than late: the service's
	// lifetime in whole seconds, at most a day, or five minutes if it is not a number.
	ExpiresAt time.Time
}

// AccessToken returns the access token, from the cache if it lives long enough there.
// Concurrent callers share one request for it, and its failure. A caller stops waiting
// when its ctx ends, and the request continues for the others. A failure is not cached:
// the next call sends another request, so wait before you repeat a call.
//
// Errors are those of the token endpoint: [OAuthError], [FaultError],
// [ResponseError] and [TransportError]; or that of Config.AccessToken.
func (c *Client) AccessToken(ctx context.Context) (AccessToken, error) { return c.tokens.get(ctx) }

// InvalidateAccessToken removes token from the cache. Call it when the API gateway refused
// the token ([ErrUnauthorized]). The next request fetches another one, or calls
// Config.AccessToken for it.
func (c *Client) InvalidateAccessToken(token Secret) { c.tokens.forget(token) }

// RevokeAccessToken revokes the access token of the API key, for every program that uses
// the key: the service returns the same token to all of them. It fetches the token first
// if none is cached. Requests in progress may be refused with [ErrUnauthorized]. A token
// of Config.AccessToken can be revoked with the API key that it was issued to; without a
// key in the Config, nothing is sent ([ErrNotSent]).
func (c *Client) RevokeAccessToken(ctx context.Context) error {
	began := time.Now()
	r := &request{op: opRevokeToken, method: http.MethodPost, path: wire.PathRevoke}
	a, err := c.revokeAccessToken(ctx, r)
	c.logResponse(ctx, r, began, a, err)
	return err
}

func (c *Client) revokeAccessToken(ctx context.Context, r *request) (*response, error) {
	if c.config.APIKey == "" {
		return nil, refuse(r.op, "the access token is not from this Client, and Config has no API key to revoke it")
	}
	ctx, cancel := context.WithTimeout(ctx, c.config.Timeout)
	defer cancel()
	token, err := c.AccessToken(ctx)
	if err != nil {
		return nil, &AccessTokenError{Err: err}
	}
	// Before, so that no caller gets a token that is about to end; and after, because a
	// concurrent caller may have fetched the same one again.
	c.InvalidateAccessToken(token.Token)
	defer c.InvalidateAccessToken(token.Token)
	// RFC 7009, section 2.1, requires the token alone; the vendor requires both.
	form := url.Values{"grant_type": {wire.GrantTypeClient}, "token": {token.Token.Reveal()}}
	*r = *c.clientRequest(r.op, r.path, form, token.Token) // its secrets are kept from the log
	a, err := c.send(ctx, r)
	if err != nil {
		return nil, err
	}
	if err := a.failure(); err != nil {
		return a, err
	}
	// RFC 7009 requires the status alone; this service also returns the token.
	if revoked := Secret(a.header.Get(wire.HeaderRevokedToken)); revoked != "" && !revoked.Equal(token.Token) {
		return a, a.unreadable("the response names another access token than the one to revoke")
	}
	return a, nil
}

// clientRequest returns the request of a form with the API key in the Authorization
// header, which proxies do not log.
func (c *Client) clientRequest(op, path string, form url.Values, carries ...Secret) *request {
	basic := base64.StdEncoding.EncodeToString([]byte(c.config.APIKey + ":" + c.config.APISecret.Reveal()))
	r := &request{
		op: op, method: http.MethodPost, path: path, contentType: wire.MediaTypeForm,
		body: []byte(form.Encode()), secrets: append(carries, Secret(basic)),
	}
	r.authorize("Basic "+basic, c.config.APISecret)
	return r
}

// fetchAccessToken fetches an access token from the token endpoint.
func (c *Client) fetchAccessToken(ctx context.Context) (cachedToken, error) {
	ctx, cancel := context.WithTimeout(ctx, c.config.Timeout)
	defer cancel()
	form := url.Values{"grant_type": {wire.GrantTypeClient}}
	if len(c.config.Scopes) > 0 {
		form.Set("scope", strings.Join(c.config.Scopes, " "))
	}
	r := c.clientRequest(opGetToken, wire.PathToken, form)
	for again := false; ; again = true {
		sent, began := c.config.Now(), time.Now()
		a, err := c.send(ctx, r)
		var token Secret
		var life time.Duration
		if err == nil {
			token, life, err = a.accessToken()
		}
		c.logResponse(ctx, r, began, a, err)
		if err != nil {
			return cachedToken{}, err
		}
		fetched := AccessToken{Token: token, ExpiresAt: sent.Add(life)}
		switch {
		case life > 0:
			return fetched.cached(life), nil
		case again:
			return cachedToken{fetched, sent.Add(zeroLifeRest)}, nil
		}
		// The service returns the same token until its hour is over, in whole seconds:
		// 0 means that this one expires within the second, and then there is a new one.
		second := time.NewTimer(time.Second)
		select {
		case <-second.C:
		case <-ctx.Done():
			second.Stop()
			return cachedToken{}, &TransportError{
				Op: opGetToken, Method: http.MethodPost, Path: wire.PathToken, Err: context.Cause(ctx),
			}
		}
	}
}

// accessToken returns the token and the lifetime in a response of the token endpoint.
func (resp *response) accessToken() (Secret, time.Duration, error) {
	if err := resp.failure(); err != nil {
		return "", 0, err
	}
	var w struct {
		AccessToken string          `json:"access_token"`
		TokenType   string          `json:"token_type"`
		ExpiresIn   json.RawMessage `json:"expires_in"` // services differ in its form
	}
	problem := resp.decode(&w)
	switch {
	case problem != "":
	case !isToken(w.AccessToken):
		problem = "the body has no usable access token"
	case w.TokenType != "" && !strings.EqualFold(w.TokenType, wire.TokenTypeBearer):
		problem = "the token is not a bearer token"
	}
	if problem != "" {
		return "", 0, resp.unreadable(problem)
	}
	return Secret(w.AccessToken), tokenLife(w.ExpiresIn), nil
}

// sourceAccessToken calls Config.AccessToken.
func (c *Client) sourceAccessToken(ctx context.Context) (cachedToken, error) {
	ctx, cancel := context.WithTimeout(ctx, c.config.Timeout)
	defer cancel()
	token, err := c.config.AccessToken(ctx)
	if err != nil {
		return cachedToken{}, fmt.Errorf("latchkey: Config.AccessToken: %w", err)
	}
	if !isToken(token.Token.Reveal()) {
		return cachedToken{}, errors.New("latchkey: Config.AccessToken returned no usable access token")
	}
	return token.cached(max(token.ExpiresAt.Sub(c.config.Now()), 0)), nil
}

// tokenLife returns how long an access token lives by its expires_in: a number of
// seconds or the text of one, rounded down to whole seconds and clamped to
// a plausible range. If it is absent or not a number, the token is used all the same.
func tokenLife(raw json.RawMessage) time.Duration {
	text := strings.TrimSpace(unquote(raw))
	if strings.Trim(text, "+-.0123456789eE") != "" { // NaN, Inf and hexadecimal are not seconds
		return unknownTokenLife
	}
	seconds, err := strconv.ParseFloat(text, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) { // beyond the range it is ±Inf or 0
		return unknownTokenLife
	}
	return time.Duration(math.Floor(min(max(seconds, 0), maxAccessTokenLife.Seconds()))) * time.Second
}

// unquote returns the string that raw is, or raw itself if it is not a string.
func unquote(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	return string(raw)
}

// tokenCache caches the access token. Its callers share the request for the next one.
type tokenCache struct {
	fetch func(context.Context) (cachedToken, error)
	now   func() time.Time

	current atomic.Pointer[cachedToken]
	mu      sync.Mutex // guards flight; never held while fetching or waiting
	flight  *tokenFlight
}

type cachedToken struct {
	AccessToken
	staleAt time.Time // when a new one is fetched
}

// cached returns t with the time when it is stale. A token near the end of its hour is
// cached for half of its remaining life, so that not every call fetches it.
func (t AccessToken) cached(life time.Duration) cachedToken {
	return cachedToken{t, t.ExpiresAt.Add(-min(accessTokenMargin, life/2))}
}

// tokenFlight is one request for a token. token and err are set before done is
// closed.
type tokenFlight struct {
	done  chan struct{}
	token AccessToken
	err   error
}

func (t *tokenCache) get(ctx context.Context) (AccessToken, error) {
	if token := t.fresh(); token != nil {
		return token.AccessToken, nil
	}
	left := &TransportError{Op: opGetToken, Method: http.MethodPost, Path: wire.PathToken}
	if ctx.Err() != nil {
		left.Err = context.Cause(ctx)
		return AccessToken{}, left
	}
	flight := t.join(ctx)
	select {
	case <-flight.done:
		return flight.token, flight.err
	case <-ctx.Done():
		left.Err, left.MaybeSent = context.Cause(ctx), true
		return AccessToken{}, left
	}
}

func (t *tokenCache) fresh() *cachedToken {
	if token := t.current.Load(); token != nil && t.now().Before(token.staleAt) {
		return token
	}
	return nil
}

// join returns the flight in progress, or starts one. Cancellation of ctx does not end it,
// because other callers wait for it too; fetch has a timeout.
func (t *tokenCache) join(ctx context.Context) *tokenFlight {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.flight != nil {
		return t.flight
	}
	flight := &tokenFlight{done: make(chan struct{})}
	if token := t.fresh(); token != nil { // another flight has ended in the meantime
		flight.token = token.AccessToken
		close(flight.done)
		return flight
	}
	t.flight = flight
	go t.fly(context.WithoutCancel(ctx), flight)
	return flight
}

func (t *tokenCache) fly(ctx context.Context, flight *tokenFlight) {
	token, err := t.fetch(ctx)
	flight.token, flight.err = token.AccessToken, err
	t.mu.Lock()
	if err == nil {
		t.current.Store(&token)
	}
	t.flight = nil
	t.mu.Unlock()
	close(flight.done)
}

func (t *tokenCache) forget(token Secret) {
	if current := t.current.Load(); current != nil && current.Token.Equal(token) {
		t.current.CompareAndSwap(current, nil)
	}
}
