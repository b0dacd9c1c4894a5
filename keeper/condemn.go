package keeper

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/internal/secret"
)

const (
	// patience is how long a request waits for the renewal of a token that another
	// request has condemned, before it tries that token itself.
	patience = 2 * time.Second
	// freshBearer is how long after it was fetched a bearer is not the token that is
	// meant when a service refuses one without saying which.
	freshBearer = time.Minute
	// freshBearers is how many bearers are refused in a row until the next counts as
	// fresh although it may come from a cache.
	freshBearers = 2
)

// renewed returns both tokens, renewing what has to be.
func (k *Keeper) renewed(ctx context.Context) (*session, *bearer, error) {
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

// tokens returns both tokens for a request. A token that was condemned and cannot
// be renewed now is returned as it is, since the resource that refused it may have
// been wrong.
func (k *Keeper) tokens(ctx context.Context) (*session, *bearer, error) {
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

// getOrSuspect is get, except that it returns what was condemned if that cannot
// be renewed now, and the upstream is not away.
func (r *renewer[T]) getOrSuspect(ctx context.Context) (*T, error) {
	if !r.suspect(r.current.Load()) {
		return r.get(ctx)
	}
	waiting, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	value, err := r.get(waiting)
	var latched *LatchedError
	var lost *latchkey.TransportError
	if err == nil || ctx.Err() != nil || !errors.As(err, &latched) && errors.As(err, &lost) {
		return value, err
	}
	if held := r.current.Load(); r.usable(held) || r.suspect(held) {
		return held, nil
	}
	return nil, err
}

// condemn decides about a refusal. It reports whether there is, or may be, another
// token to try with. Otherwise the refusal is the request's own.
func (k *Keeper) condemn(req *http.Request, resp *http.Response, refused finding, s *session, b *bearer) bool {
	of := refused.of
	if of == ofEither {
		of = ofBearer
		if b.age() < freshBearer && (!b.cached || k.complaints.bearers.Load() >= freshBearers) {
			of = ofSession
		}
	}
	replaced, refusedToken := k.sessions.current.Load() != s, token{s.serial, !s.found}
	if of == ofBearer {
		replaced, refusedToken = k.bearers.current.Load() != b, token{b.serial, !b.cached}
	}
	if replaced {
		return true
	}
	r := resourceOf(of, req)
	believed, exposed := k.complaints.believe(r, refusedToken, refused.doubtful)
	if exposed {
		k.expose(r, resp, s, b)
	}
	if !believed {
		if body, ok := resp.Body.(*peeked); ok {
			body.ofRequest = true
		}
		return false
	}
	return k.refuse(of, s, b)
}

// refuse notes that the upstream refused s or b. It reports whether there is, or
// may be, another one to try with.
func (k *Keeper) refuse(of target, s *session, b *bearer) bool {
	switch {
	case of == ofSession:
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

// condemnedOf lists which of the tokens are condemned.
func condemnedOf(s *session, b *bearer) (list []target) {
	if s.refused.Load() {
		list = append(list, ofSession)
	}
	if b.refused.Load() {
		list = append(list, ofBearer)
	}
	return list
}

// succeeded notes that a request succeeded. condemned are the tokens that had been
// condemned before it was sent: they are good.
func (k *Keeper) succeeded(req *http.Request, sent time.Time, condemned []target, s *session, b *bearer) {
	k.complaints.succeeded(req, proof{sent, s.serial, b.serial})
	for _, of := range condemned {
		if of == ofSession && s.refused.CompareAndSwap(true, false) || of == ofBearer && b.refused.CompareAndSwap(true, false) {
			for _, r := range k.complaints.acquit(of) {
				k.expose(r, nil, s, b)
			}
		}
	}
}

// expose reports a resource that refuses s or b, which is good elsewhere. resp is
// its response, if that is known. It may repeat the tokens.
func (k *Keeper) expose(r resource, resp *http.Response, s *session, b *bearer) {
	token := "session"
	if r.of == ofBearer {
		token = "access token"
	}
	err := fmt.Errorf("keeper: %s %s refuses a %s that is good elsewhere", r.method, r.path, token)
	if resp != nil {
		if body, ok := resp.Body.(*peeked); ok {
			err = fmt.Errorf("%w: %w", err, latchkey.ErrorFromResponse(resp.StatusCode, resp.Header, body.head, s.token, b.Token))
		}
	}
	k.note(Event{Kind: EventRequestRefused, Err: secret.HideInError(err, s.token, b.Token)})
}
