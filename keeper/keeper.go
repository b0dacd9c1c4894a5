package keeper

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/internal/outbound"
	"github.com/latchkey/latchkey/keeper/internal/ledger"
)

// Keeper keeps one session with the upstream alive for any number of callers. It is
// created with New and must be closed with Close. It is safe for concurrent use.
type Keeper struct {
	config   Config
	baseURL  string
	base     *url.URL
	client   *http.Client        // that of the Upstream
	conns    *outbound.Transport // its transport, if the Upstream has no client to share
	counters counters
	now      func() time.Time
	foreign  bool // now is not the system's clock, by which timers run

	sessions  renewer[session]
	bearers   renewer[bearer]
	resources resources
	serials   atomic.Uint64

	rules      ledger.Rules
	user       string    // of the last login; like resets it belongs to the flight of sessions
	resets     int       // of the guard, at the last login
	latchNoted time.Time // the latch that was noted; guarded by the lease

	// rotation is the rotation mutex: a goroutine that rotates the password, or checks
	// whether it has to be, puts an element in. It guards pending and warned.
	rotation chan struct{}
	pending  int       // checks in a row that found an unfinished rotation
	warned   time.Time // of the password's age
	watch    *time.Timer
	nextLook alarm // when watch is due, by a clock that is not the system's
	kept     atomic.Pointer[keptResponse]
	closing  chan struct{}
	closed   sync.Once
}

// HTTPClient returns a client that adds both tokens to every request. Otherwise it is a
// copy of the client that the *latchkey.Client was configured with: certificates, proxies,
// timeouts and the policy for redirects are the same. See Transport.
func (k *Keeper) HTTPClient() *http.Client {
	client := *k.client
	client.Transport = k.Transport(nil)
	return &client
}

// Transport returns a RoundTripper that sends requests through base with both tokens in
// their headers. A nil base is the transport of the *latchkey.Client that is the Upstream.
// While the tokens are live, the RoundTripper takes no lock and reads no clock.
//
// A request whose token is refused is sent again with a renewed one, whatever its method,
// because no service has executed it. That needs a body that can be read again: none, or
// one with GetBody, as http.NewRequest sets it for bytes and strings. For any other request
// the result is the refusal, and the next request gets a renewed token. The same holds for
// a request that is refused again. If a service does not say which token it refuses, it is
// taken to be the access token, unless that was fetched within the last minute.
//
// A response that may hide a refusal causes one renewal at most: status 400 to a HEAD or
// with a body that cannot be read, and status 500 in a form that wraps a refusal. Then only
// GET and HEAD are sent again. Requests accept only the content codings that can be read:
// gzip, deflate and identity.
//
// The refusals of a resource that refuses a token which is accepted elsewhere, or was just
// renewed, are returned to the callers of that resource, and affect no other request
// ([RefusesRequest], [EventRequestRefused]).
//
// A request to one of the Client's further hosts (latchkey.Config.Hosts) carries the session
// token in the header that the host wants. A request to any other host, or outside the base
// URL's path, is an error, because it would carry the tokens there. This includes redirects
// that a client follows. The caller's request is not changed. The values of its header are
// shared with base, which must not modify them (as http.RoundTripper demands).
//
// An *http.Transport as base repeats a GET, HEAD, OPTIONS or TRACE, and any request with an
// Idempotency-Key, if the connection was reused and breaks before a response begins.
//
// Errors are those of base and of Tokens. An error that wraps latchkey.ErrNotSent proves
// that no service has executed the request.
func (k *Keeper) Transport(base http.RoundTripper) http.RoundTripper {
	if base == nil {
		base = k.client.Transport
	}
	if base == nil {
		base = http.DefaultTransport
	}
	return &transport{keeper: k, base: hostHeaders{keeper: k, base: base}}
}

// Tokens are what a request of the API carries.
type Tokens struct {
	Session         latchkey.Secret // for the VZ-M2M-Token header
	Bearer          latchkey.Secret // for the Authorization header, behind "Bearer "
	BearerExpiresAt time.Time
}

// Tokens returns live tokens, for requests that do not go through Transport. Call it for
// each request, and call Invalidate when the upstream refuses one of the tokens.
//
// Concurrent callers share one renewal, and its failure. For some seconds a failure is also
// the result of later calls. Each caller stops waiting when its own ctx ends. Errors are
// *[LatchedError], [ErrClosed], that of ctx, and *[WaitError], which wraps those of the
// State, of the credential.Source and of package latchkey.
func (k *Keeper) Tokens(ctx context.Context) (Tokens, error) {
	s, b, err := k.liveTokens(ctx)
	if err != nil {
		return Tokens{}, err
	}
	s.use()
	return Tokens{Session: s.token, Bearer: b.Token, BearerExpiresAt: b.ExpiresAt}, nil
}

// Invalidate marks a session token or a bearer as refused by the upstream, so that the next
// caller gets another one. A token that was replaced already is ignored.
func (k *Keeper) Invalidate(token latchkey.Secret) {
	if s := k.sessions.current.Load(); s != nil && s.token.Equal(token) {
		k.markRefused(sessionToken, s, nil)
		s.over.Store(true)
	}
	if b := k.bearers.current.Load(); b != nil && b.Token.Equal(token) && k.markRefused(accessToken, nil, b) {
		b.over.Store(true)
	}
}

// LogOut ends the session with the upstream, for all Keepers that share the State. The next
// caller that needs tokens causes a login.
func (k *Keeper) LogOut(ctx context.Context) error {
	var token string
	if err := k.amend(ctx, func(record *ledger.Record) { token = k.rules.EndSession(record) }); err != nil {
		return err
	}
	if s := k.sessions.current.Load(); s != nil {
		s.stop()
	}
	if token == "" {
		return nil
	}
	err := k.config.Upstream.LogOut(ctx, latchkey.Secret(token))
	if err != nil && !errors.Is(err, latchkey.ErrSessionExpired) {
		return fmt.Errorf("keeper: log out: the session is no longer used, and expires at the upstream: %w", err)
	}
	k.note(Event{Kind: EventLogOut})
	return nil
}

// ResetGuard unlatches the guard, and ends every wait for the next login, for all Keepers
// that share the State. Keepers other than k notice it within seconds. It is for an operator
// who knows that the account is not locked and the credential is right: the upstream still
// counts the strikes, until a login succeeds.
func (k *Keeper) ResetGuard(ctx context.Context) error {
	if err := k.amend(ctx, (*ledger.Record).ResetGuard); err != nil {
		return err
	}
	k.sessions.endWait()
	k.bearers.endWait()
	k.note(Event{Kind: EventGuardReset})
	return nil
}

// amend changes the record under the lease.
func (k *Keeper) amend(ctx context.Context, change func(*ledger.Record)) error {
	return k.withLease(ctx, func(h *leased) error {
		change(h.record)
		return h.save(ctx)
	})
}

// Close closes the Keeper: every further call that needs tokens returns ErrClosed. It waits
// for a login or a rotation, because interrupting one could cost a strike. If ctx ends
// first, Close returns an error, and the login or the rotation goes on.
//
// The session stays live, for the next start and for other Keepers that share the State.
// Call LogOut first to end it.
func (k *Keeper) Close(ctx context.Context) error {
	k.closed.Do(func() { close(k.closing) })
	k.watch.Stop()
	s, logIn := k.sessions.close()
	_, renewal := k.bearers.close()
	if s != nil {
		s.stop()
	}
	if k.conns != nil {
		k.conns.CloseIdleConnections()
	}
	for _, done := range []<-chan struct{}{logIn.ended(), renewal.ended()} {
		select {
		case <-done:
		case <-ctx.Done():
			return fmt.Errorf("keeper: closed while a token is still being renewed: %w", context.Cause(ctx))
		}
	}
	if logIn != nil && logIn.value != nil {
		logIn.value.stop()
	}
	select {
	case k.rotation <- struct{}{}:
		<-k.rotation
		return nil
	case <-ctx.Done():
		return fmt.Errorf("keeper: closed while the password is still being rotated, which goes on: %w", context.Cause(ctx))
	}
}

// Format implements fmt.Formatter. For every verb it writes the base URL, and nothing of
// what k keeps.
func (k *Keeper) Format(f fmt.State, _ rune) {
	if k == nil {
		_, _ = io.WriteString(f, "keeper.Keeper(nil)")
		return
	}
	_, _ = fmt.Fprintf(f, "keeper.Keeper(%s)", k.baseURL)
}
