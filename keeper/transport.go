package keeper

import (
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
	if s == nil || s.dead() || s.refused.Load() || b == nil || b.stale() {
		var err error
		if s, b, err = k.tokens(req.Context()); err != nil {
			closeBody(req)
			return nil, &notSentError{err}
		}
	}
	resp, refused, err := t.send(req, req, s, b)
	if err != nil || refused.of == nothing {
		return resp, err
	}
	return t.replay(req, resp, refused, s, b)
}

// send sends out, which is req or a copy of it, with the tokens, and reads what
// the response says about them.
func (t *transport) send(req, out *http.Request, s *session, b *bearer) (*http.Response, finding, error) {
	k := t.keeper
	sent := k.complaints.sent()
	var condemned []target
	if !sent.IsZero() {
		condemned = condemnedOf(s, b)
	}
	resp, err := t.base.RoundTrip(authorized(out, s, b))
	if err != nil {
		s.use()
		return nil, finding{}, secret.HideInError(err, s.token, b.Token)
	}
	resp.Request = req // as the caller made it, without the tokens
	if refused := readRefusal(resp); refused.of != nothing {
		return resp, refused, nil // which is no use of the session
	}
	s.use()
	if !sent.IsZero() && resp.StatusCode/100 == 2 {
		k.succeeded(req, sent, condemned, s, b)
	}
	return resp, finding{}, nil
}

// replay renews the token that resp refuses and sends req a second time. If no
// service executed it, its method does not matter; otherwise only GET and HEAD are
// repeated. Where it cannot be sent again, resp is the response, and the next
// request gets the renewed token.
func (t *transport) replay(
	req *http.Request, resp *http.Response, refused finding, s *session, b *bearer,
) (*http.Response, error) {
	k := t.keeper
	if !k.condemn(req, resp, refused, s, b) {
		return resp, nil
	}
	if !refused.unexecuted && req.Method != http.MethodGet && req.Method != http.MethodHead {
		return resp, nil
	}
	again := rewound(req)
	if again == nil {
		return resp, nil
	}
	s, b, err := k.renewed(req.Context())
	var soon *tooSoonError
	if errors.As(err, &soon) || err != nil && !refused.unexecuted {
		closeBody(again)
		return resp, nil // which says the same, in the upstream's words
	}
	discard(resp)
	if err != nil {
		closeBody(again)
		return nil, &notSentError{err}
	}
	k.note(Event{Kind: EventReplay})
	resp, refused, err = t.send(req, again, s, b)
	if err == nil && refused.of != nothing {
		k.condemn(req, resp, refused, s, b)
	}
	return resp, err
}

// authorized is req with the tokens, and without the content codings that refusals
// could not be read in. It shares with req whatever it may, for this is the path of
// every request: the header's values, but not the header.
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
