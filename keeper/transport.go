package keeper

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/textproto"

	"github.com/latchkey/latchkey/internal/wire"
)

// Header names as net/http keys its maps.
const headerBearer = "Authorization"

var headerSession = textproto.CanonicalMIMEHeaderKey(wire.HeaderSessionToken)

// transport gives requests their tokens.
type transport struct {
	keeper *Keeper
	base   http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	k := t.keeper
	if !k.owns(req.URL) {
		closeBody(req)
		return nil, fmt.Errorf("keeper: the request was not sent, because it goes neither to %s nor to another host "+
			"of the service, and the tokens would go wherever it does", k.baseURL)
	}
	s, b := k.sessions.current.Load(), k.bearers.current.Load()
	if s == nil || s.dead() || b == nil || b.stale() {
		var err error
		if s, b, err = k.tokens(req.Context()); err != nil {
			closeBody(req)
			return nil, &notSentError{err}
		}
	}
	s.use()
	resp, err := t.base.RoundTrip(authorized(req, s, b))
	if err != nil {
		return nil, err
	}
	resp.Request = req // as the caller made it, without the tokens
	if resp.StatusCode != http.StatusBadRequest && resp.StatusCode != http.StatusUnauthorized {
		return resp, nil
	}
	if refused := refusedBy(resp); refused != nothing {
		return t.replay(req, resp, refused, s, b)
	}
	return resp, nil
}

// notSentError is in the way of every error of a Transport that proves that no
// service has executed the request, because there was no token for it.
type notSentError struct{ error }

func (e *notSentError) Unwrap() error { return e.error }

// NotSent reports whether err, of a Transport, proves that no service executed the
// request, because there was no live token that it could carry. Trying again is
// safe then.
func NotSent(err error) bool {
	var unsent *notSentError
	return errors.As(err, &unsent)
}

// replay renews the token that resp refuses and sends req once more. No service
// executed it, so its method does not matter. Where it cannot be sent again, resp
// is the answer, and the next request gets the renewed token.
func (t *transport) replay(
	req *http.Request, resp *http.Response, refused target, s *session, b *bearer,
) (*http.Response, error) {
	k := t.keeper
	if !k.refuse(refused, s, b) {
		return resp, nil
	}
	again := rewound(req)
	if again == nil {
		return resp, nil
	}
	s, b, err := k.tokens(req.Context())
	var soon *tooSoonError
	if errors.As(err, &soon) {
		closeBody(again)
		return resp, nil // which says the same, in the upstream's words
	}
	discard(resp)
	if err != nil {
		closeBody(again)
		return nil, &notSentError{err}
	}
	k.note(Event{Kind: EventReplay})
	s.use()
	resp, err = t.base.RoundTrip(authorized(again, s, b))
	if err != nil {
		return nil, err
	}
	resp.Request = req
	if refused := refusedBy(resp); refused != nothing {
		k.refuse(refused, s, b)
	}
	return resp, nil
}

// authorized is req with the tokens. It shares with req whatever it may, for
// this is the path of every request: the header's values, but not the header.
func authorized(req *http.Request, s *session, b *bearer) *http.Request {
	out := new(http.Request)
	*out = *req
	out.Header = maps.Clone(req.Header)
	if out.Header == nil {
		out.Header = make(http.Header, 2)
	}
	out.Header[headerBearer] = b.header
	out.Header[headerSession] = s.header
	return out
}

// rewound is req with its body at the beginning; nil if that cannot be had.
func rewound(req *http.Request) *http.Request {
	if req.Body == nil || req.Body == http.NoBody {
		return req
	}
	if req.GetBody == nil {
		return nil
	}
	body, err := req.GetBody()
	if err != nil {
		return nil
	}
	out := new(http.Request)
	*out = *req
	out.Body = body
	return out
}

func closeBody(req *http.Request) {
	if req.Body != nil {
		_ = req.Body.Close()
	}
}

// tokens answers both tokens, renewing what has to be.
func (k *Keeper) tokens(ctx context.Context) (*session, *bearer, error) {
	s, err := k.sessions.get(ctx)
	if err != nil {
		return nil, nil, err
	}
	b, err := k.bearers.get(ctx)
	if err != nil {
		return nil, nil, err
	}
	return s, b, nil
}

// refuse notes that the upstream refused s or b. It reports whether there is, or
// may be, another one to try with.
func (k *Keeper) refuse(refused target, s *session, b *bearer) bool {
	switch {
	case refused == ofSession:
		s.over.Store(true) // first, or else whoever sees that s is refused is given it again
		if !s.refused.Swap(true) {
			k.note(Event{Kind: EventSessionRefused})
		}
	case b.resting():
		return false
	default:
		// First, or else whoever sees that b is refused is given it again.
		k.config.Upstream.InvalidateAccessToken(b.Token)
		if !b.refused.Swap(true) {
			b.due.Store(true)
			k.note(Event{Kind: EventBearerRefused})
		}
	}
	return true
}
