package keeper

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/internal/secret"
)

const (
	// freshBearer is how long after it was fetched a bearer is not taken to be the
	// refused token if a service refuses one without saying which.
	freshBearer = time.Minute
	// freshBearers is how many bearers are refused in a row until the next one counts as
	// fresh although it may come from a cache.
	freshBearers = 2
)

// handleRefusal decides what a refusal means. It reports whether there is, or may be,
// another token to try the request with. Otherwise the refusal is the response to the
// request.
func (k *Keeper) handleRefusal(req *http.Request, resp *http.Response, refusal tokenRefusal, s *session,
	b *bearer) bool {
	of := refusal.of
	if of == eitherToken {
		of = accessToken
		if b.age() < freshBearer && (!b.cached || k.resources.bearers.Load() >= freshBearers) {
			of = sessionToken
		}
	}
	replaced, id := k.sessions.current.Load() != s, tokenID{s.serial, !s.found}
	if of == accessToken {
		replaced, id = k.bearers.current.Load() != b, tokenID{b.serial, !b.cached}
	}
	if replaced {
		return true
	}
	r := resourceOf(of, req)
	trusted, wrong := k.resources.trust(r, id, refusal.ambiguous)
	if wrong {
		k.noteWrong(r, resp, s, b)
	}
	if !trusted {
		if body, ok := resp.Body.(*peeked); ok {
			body.ofRequest = true
		}
		return false
	}
	return k.markRefused(of, s, b)
}

// markRefused notes that the upstream refused s or b. It reports whether there is, or
// may be, another one to try with.
func (k *Keeper) markRefused(of tokenKind, s *session, b *bearer) bool {
	switch {
	case of == sessionToken:
		if !s.refused.Swap(true) {
			k.note(Event{Kind: EventSessionRefused})
		}
	case b.resting():
		return false
	default:
		// Before b is marked, because a caller that sees the mark gets b again otherwise.
		k.config.Upstream.InvalidateAccessToken(b.Token)
		if !b.refused.Swap(true) {
			b.due.Store(true)
			k.note(Event{Kind: EventBearerRefused})
		}
	}
	return true
}

// refusedOf returns which of the tokens are marked as refused.
func refusedOf(s *session, b *bearer) (list []tokenKind) {
	if s.refused.Load() {
		list = append(list, sessionToken)
	}
	if b.refused.Load() {
		list = append(list, accessToken)
	}
	return list
}

// succeeded notes that a request succeeded. refused are the tokens that had been
// marked as refused before it was sent. They are valid.
func (k *Keeper) succeeded(req *http.Request, sent time.Time, refused []tokenKind, s *session, b *bearer) {
	k.resources.succeeded(req, proof{sent, s.serial, b.serial})
	for _, of := range refused {
		mark := &s.refused
		if of == accessToken {
			mark = &b.refused
		}
		if mark.CompareAndSwap(true, false) {
			for _, r := range k.resources.valid(of) {
				k.noteWrong(r, nil, s, b)
			}
		}
	}
}

// noteWrong notes a resource that refuses a valid token. resp is its response, if that
// is known. It may repeat the tokens.
func (k *Keeper) noteWrong(r resource, resp *http.Response, s *session, b *bearer) {
	token := "session"
	if r.of == accessToken {
		token = "access token"
	}
	err := fmt.Errorf("keeper: %s %s refuses a %s that is accepted elsewhere", r.method, r.path, token)
	if resp != nil {
		if body, ok := resp.Body.(*peeked); ok {
			seen := *resp
			seen.Body = io.NopCloser(bytes.NewReader(body.head))
			err = fmt.Errorf("%w: %w", err, latchkey.CheckResponse(&seen, s.token, b.Token))
		}
	}
	k.note(Event{Kind: EventRequestRefused, Err: secret.HideInError(err, s.token, b.Token)})
}
