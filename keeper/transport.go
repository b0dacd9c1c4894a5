package keeper

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/textproto"

	"github.com/latchkey/latchkey/internal/secret"
	"github.com/latchkey/latchkey/internal/wire"
)

// Header names as net/http keys its maps.
const (
	headerBearer   = "Authorization"
	headerEncoding = "Accept-Encoding"
)

var headerSession = textproto.CanonicalMIMEHeaderKey(wire.HeaderSessionToken)

// transport adds the tokens to requests.
type transport struct {
	keeper *Keeper
	base   http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	k := t.keeper
	if !k.owns(req.URL) {
		closeBody(req)
		return nil, fmt.Errorf("keeper: request not sent: its URL is neither under %s nor at another host of the service, "+
			"and it would carry the tokens", k.baseURL)
	}
	s, b := k.sessions.current.Load(), k.bearers.current.Load()
	if s == nil || s.dead() || s.refused.Load() || b == nil || b.stale() {
		var err error
		if s, b, err = k.liveTokens(req.Context()); err != nil {
			closeBody(req)
			return nil, &notSentError{err}
		}
	}
	resp, refusal, err := t.send(req, req, s, b)
	if err != nil || refusal.of == noToken {
		return resp, err
	}
	return t.replay(req, resp, refusal, s, b)
}

// send sends out, which is req or a copy of it, with the tokens, and returns what the
// response says about them.
func (t *transport) send(req, out *http.Request, s *session, b *bearer) (*http.Response, tokenRefusal, error) {
	k := t.keeper
	sent := k.resources.sent()
	var refused []tokenKind
	if !sent.IsZero() {
		refused = refusedOf(s, b)
	}
	resp, err := t.base.RoundTrip(authorized(out, s, b))
	if err != nil {
		s.use()
		return nil, tokenRefusal{}, secret.HideInError(err, s.token, b.Token)
	}
	resp.Request = req // as the caller made it, without the tokens
	if refusal := readRefusal(resp); refusal.of != noToken {
		return resp, refusal, nil // which does not count as a use of the session
	}
	s.use()
	if !sent.IsZero() && resp.StatusCode/100 == 2 {
		k.succeeded(req, sent, refused, s, b)
	}
	return resp, tokenRefusal{}, nil
}

// replay renews the token that resp refuses and sends req a second time. If no service
// has executed the request, its method does not matter. Otherwise only GET and HEAD are
// repeated. If the request cannot be sent again, the result is resp, and the next request
// gets the renewed token.
func (t *transport) replay(
	req *http.Request, resp *http.Response, refusal tokenRefusal, s *session, b *bearer,
) (*http.Response, error) {
	k := t.keeper
	if !k.handleRefusal(req, resp, refusal, s, b) {
		return resp, nil
	}
	if !refusal.unexecuted && req.Method != http.MethodGet && req.Method != http.MethodHead {
		return resp, nil
	}
	again := rewound(req)
	if again == nil {
		return resp, nil
	}
	s, b, err := k.renewedTokens(req.Context())
	var soon *tooSoonError
	if errors.As(err, &soon) || err != nil && !refusal.unexecuted {
		closeBody(again)
		return resp, nil // which says the same, in the upstream's words
	}
	discard(resp)
	if err != nil {
		closeBody(again)
		return nil, &notSentError{err}
	}
	k.note(Event{Kind: EventReplay})
	resp, refusal, err = t.send(req, again, s, b)
	if err == nil && refusal.of != noToken {
		k.handleRefusal(req, resp, refusal, s, b)
	}
	return resp, err
}

// authorized returns req with the tokens, and without the content codings that a refusal
// could not be read in. This is the path of every request, so the result shares with req
// what it may: the header's values, but not the header.
func authorized(req *http.Request, s *session, b *bearer) *http.Request {
	out := new(http.Request)
	*out = *req
	out.Header = maps.Clone(req.Header)
	if out.Header == nil {
		out.Header = make(http.Header, 2)
	}
	if codings := out.Header[headerEncoding]; len(codings) > 0 {
		if reduced, changed := wire.ReduceCodings(codings); changed {
			out.Header[headerEncoding] = []string{reduced}
		}
	}
	out.Header[headerBearer] = b.header
	out.Header[headerSession] = s.header
	return out
}

// rewound returns req with its body at the beginning, or nil if that is not possible.
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

// liveTokens returns both tokens for a request. A token that is marked as refused and
// cannot be renewed now is returned as it is, because the resource that refused it may
// have been wrong.
func (k *Keeper) liveTokens(ctx context.Context) (*session, *bearer, error) {
	s, err := k.sessions.getOrSuspect(ctx)
	if err != nil {
		return nil, nil, err
	}
	b, err := k.bearers.getOrSuspect(ctx)
	if err != nil {
		return nil, nil, err
	}
	return s, b, nil
}

// renewedTokens returns both tokens, of which none is marked as refused.
func (k *Keeper) renewedTokens(ctx context.Context) (*session, *bearer, error) {
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

func closeBody(req *http.Request) {
	if req.Body != nil {
		_ = req.Body.Close()
	}
}
