package keeper

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/credential"
	"github.com/latchkey/latchkey/internal/outbound"
	"github.com/latchkey/latchkey/keeper/internal/ledger"
)

// Upstream is the service that the session is with. *latchkey.Client is one.
//
// The keeper relies on LogIn sending a login at most once, and on the errors of
// package latchkey, by which it tells what a failure may have cost; an error that
// it does not know counts as a strike.
type Upstream interface {
	// BaseURL is where the tokens may go.
	BaseURL() string
	// LogIn forgets the access token if the gateway refuses it
	// (latchkey.ErrUnauthorized), so that the next call gets a fresh one.
	LogIn(ctx context.Context, user string, password latchkey.Secret) (latchkey.Secret, error)
	LogOut(ctx context.Context, session latchkey.Secret) error
	// AccessToken may answer from a cache until InvalidateAccessToken.
	AccessToken(ctx context.Context) (latchkey.AccessToken, error)
	InvalidateAccessToken(token latchkey.Secret)
}

var _ Upstream = (*latchkey.Client)(nil)

// Config says what a Keeper keeps. The first three fields are required.
type Config struct {
	Upstream Upstream
	// Credential is where the user name and the password are loaded from before each
	// login, so that a change there takes effect without a restart. Default:
	// Rotation.Store, if Rotation is set.
	Credential credential.Source
	// State is shared with the keepers that use the same session. It has no
	// default, since it decides what protects the account: a FileState remembers
	// failed logins over restarts, and a MemoryState does not.
	State State

	// IdleTimeout is how long the upstream lets a session be unused. Default: 20
	// minutes, as documented. The keeper gives a session up half a minute (a
	// fortieth) earlier, so that a request does not arrive too late.
	IdleTimeout time.Duration
	// Rotation lets the Keeper change the password. Default: nil, it is changed elsewhere.
	Rotation *Rotation
	// Now is the clock that everything is judged by. Default: that of the Upstream,
	// if it is a *latchkey.Client whose Config.Now is set, or else time.Now. A test
	// moves it; a Keeper with a clock of its own reads it for each request.
	Now func() time.Time
	// OnEvent, if set, is called for each event, from the goroutine that it
	// happens in: it must return soon, may be called concurrently, and must not
	// wait for a token, since it may be the one who gets it.
	OnEvent func(Event)
	// Log gets the same. Default: slog.Default().
	Log *slog.Logger
}

// Keeper keeps one session with the upstream alive for any number of callers.
// Make it with New, and Close it in the end. It is safe for concurrent use.
type Keeper struct {
	config   Config
	baseURL  string
	base     *url.URL
	client   *http.Client        // that of the Upstream
	conns    *outbound.Transport // its, if it has none
	counters counters
	now      func() time.Time
	foreign  bool // now is not the system's clock, by which timers run

	sessions   renewer[session]
	bearers    renewer[bearer]
	complaints complaints
	serials    atomic.Uint64

	rules      ledger.Rules
	user       string    // of the last login; like resets it belongs to the flight of sessions
	resets     int       // of the guard, at the last login
	latchNoted time.Time // the latch that was noted; guarded by the lease

	// rotation is the rotation mutex: who rotates the password, or looks whether it has
	// to be, puts an element in. It guards pending and warned.
	rotation chan struct{}
	pending  int       // looks in a row that found an unfinished rotation
	warned   time.Time // of the password's age
	watch    *time.Timer
	nextLook alarm // the same, by a clock that is not the system's
	kept     atomic.Pointer[keptResponse]
	closing  chan struct{}
	closed   sync.Once
}

// New makes a Keeper. It uses neither the network nor the State: that begins
// with the first request, or a minute later, when the Keeper looks whether a
// rotation was left unfinished, and how old the password is. The error lists
// every fault of the configuration, one to a line.
func New(config Config) (*Keeper, error) {
	var faults []error
	fault := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf("keeper: Config."+format, args...))
	}
	if config.IdleTimeout == 0 {
		config.IdleTimeout = 20 * time.Minute
	}
	if config.IdleTimeout < 10*time.Second {
		fault("IdleTimeout of %v is below ten seconds", config.IdleTimeout)
	}
	if config.Log == nil {
		config.Log = slog.Default()
	}
	switch rotation := config.Rotation; {
	case rotation == nil:
	case config.Credential != nil:
		fault("Credential and Config.Rotation exclude each other, because Rotation.Store holds the credential")
	case rotation.Store != nil:
		config.Credential = rotation.Store
	}
	if config.Credential == nil {
		fault("Credential is missing: Static(user, password) is the simplest")
	}
	if config.State == nil {
		fault("State is missing: NewFileState(path) keeps the session and the count of failed logins over restarts; " +
			"NewMemoryState() forgets them, so that restarts may lock the account")
	}
	k := &Keeper{config: config, counters: newCounters(), rotation: make(chan struct{}, 1), closing: make(chan struct{})}
	k.now, k.foreign = clockOf(config)
	k.complaints.now = k.now
	if config.Upstream == nil {
		fault("Upstream is missing: a *latchkey.Client is one")
	} else {
		var err error
		k.baseURL = config.Upstream.BaseURL()
		if k.base, err = url.Parse(k.baseURL); err != nil || k.base.Host == "" {
			fault("Upstream has no usable base URL")
		}
	}
	if rotation := config.Rotation; rotation != nil {
		if rotation.Store == nil || rotation.Upstream == nil {
			fault("Rotation needs a Store and an Upstream")
		}
		if every := rotation.Every; every != 0 && every < minRotateEvery {
			fault("Rotation.Every of %v is below %v", every, minRotateEvery)
		}
		if rotation.Every != 0 && config.State != nil && !config.State.Durable() {
			faults = append(faults, k.canRotate())
		}
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	if err := k.connect(); err != nil {
		return nil, err
	}
	k.rules = ledger.Rules{
		Upstream: k.baseURL, IdleLimit: k.idleLimit(), StrikePause: strikePause, ShortLife: shortLife,
		CanStore: config.Rotation != nil,
	}
	k.sessions.usable = func(s *session) bool { return s != nil && !s.dead() && !s.refused.Load() }
	k.sessions.suspect = func(s *session) bool { return s != nil && !s.dead() && s.refused.Load() }
	k.sessions.due = func(*session) bool { return false }
	k.sessions.fetch, k.sessions.limit, k.sessions.now = k.renewSession, renewLimit, k.now
	k.sessions.next, k.sessions.lookEvery = "the next login may be made", latchedPause
	k.bearers.usable, k.bearers.due = (*bearer).usable, (*bearer).stale
	k.bearers.suspect = (*bearer).suspect
	k.bearers.fetch, k.bearers.limit, k.bearers.now = k.renewBearer, bearerLimit, k.now
	k.bearers.next = "the next access token may be asked for"
	k.nextLook.set(k.now(), firstLook)
	k.watch = time.AfterFunc(lookEvery, k.look)
	k.watch.Reset(firstLook) // now that the look can reset it, too
	return k, nil
}

// HTTPClient returns a client whose every request carries both tokens. It is as the
// one that the *latchkey.Client was configured with, so that certificates, proxies,
// time limits and the policy for redirects are the same. See Transport.
func (k *Keeper) HTTPClient() *http.Client {
	client := *k.client
	client.Transport = k.Transport(nil)
	return &client
}

// Transport returns a RoundTripper that sends requests through base with both
// tokens in their headers. If base is nil, it is the transport of the
// *latchkey.Client that is the Upstream, so that requests go the way of the login.
// The RoundTripper may be used at any rate: while the tokens live, it takes no lock
// and reads no clock.
//
// A request whose token is refused is sent once more with a renewed one,
// whatever its method, because no service executed it. That needs a body that can
// be read again: none, or one with GetBody, as http.NewRequest sets it for bytes
// and strings. Any other request gets the upstream's refusal as its answer, and
// the next one a renewed token. So does a request that is refused again. Where a
// service does not say which token it refuses, it is taken to be the access token,
// unless that was fetched within the last minute.
//
// A response that may hide a refusal is settled by one renewal at most: status 400
// to a HEAD, or with a body that cannot be read, and status 500 in a form that wraps
// a refusal. Then only GET and HEAD are sent once more. Requests ask only for the
// content codings that can be read: gzip, deflate and identity.
//
// A resource that refuses a token which is good elsewhere, or was just renewed,
// gets its refusal returned to its callers, and costs nobody else anything
// ([RefusesRequest], [EventRequestRefused]).
//
// A request to one of the Client's further hosts (latchkey.Config.Hosts) carries the
// session token in the header that the host wants. Requests to any other host, or
// outside of the base URL's path, are answered with an error, because the tokens
// would go there. Redirects that a client follows come by here, too. The caller's
// request is not changed; its header's values are shared with base, which must not
// alter them (as http.RoundTripper says).
//
// An *http.Transport as base sends a GET, HEAD, OPTIONS or TRACE, and any request
// with an Idempotency-Key, once more if the connection was kept from an earlier
// request and breaks before a response begins.
//
// Errors are those of base and of Tokens.
func (k *Keeper) Transport(base http.RoundTripper) http.RoundTripper {
	if base == nil {
		base = k.client.Transport
	}
	if base == nil {
		base = http.DefaultTransport
	}
	return &transport{keeper: k, base: named{keeper: k, base: base}}
}

// Tokens are what a request of the API carries.
type Tokens struct {
	Session         latchkey.Secret // for the VZ-M2M-Token header
	Bearer          latchkey.Secret // for the Authorization header, behind "Bearer "
	BearerExpiresAt time.Time
}

// Tokens answers live tokens, for requests that do not go through Transport. Ask
// anew for each request, and call Invalidate when the upstream refuses one.
//
// Whoever calls at the same time shares one renewal, and its failure; for some
// seconds a failure is also the answer to those who come later. Each caller stops
// waiting when its own ctx ends. Errors are *[LatchedError], [ErrClosed], that of
// ctx, and *[WaitError], which wraps those of the State, of the CredentialSource and
// of package latchkey.
func (k *Keeper) Tokens(ctx context.Context) (Tokens, error) {
	s, b, err := k.tokens(ctx)
	if err != nil {
		return Tokens{}, err
	}
	s.use()
	return Tokens{Session: s.token, Bearer: b.Token, BearerExpiresAt: b.ExpiresAt}, nil
}

// Invalidate says that the upstream refused token, the session's or the bearer.
// The next caller gets another one. A token that was replaced already changes
// nothing.
func (k *Keeper) Invalidate(token latchkey.Secret) {
	if s := k.sessions.current.Load(); s != nil && s.token.Equal(token) {
		k.refuse(ofSession, s, nil)
		s.over.Store(true)
	}
	if b := k.bearers.current.Load(); b != nil && b.Token.Equal(token) && k.refuse(ofBearer, nil, b) {
		b.over.Store(true)
	}
}

// LogOut ends the session with the upstream, for everybody who shares the State.
// Whoever asks for tokens afterwards logs in again.
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
		return fmt.Errorf("keeper: the session was given up, and ends by itself for lack of use: %w", err)
	}
	k.note(Event{Kind: EventLogOut})
	return nil
}

// ResetGuard lets logins happen again after a LatchedError, and ends every wait for
// the next one, for all keepers that share the State; others than k notice within
// seconds. It is for an operator who knows that the account is not locked
// and the credential is right: the strikes that the upstream has counted are
// still there, and only a login that succeeds clears them.
func (k *Keeper) ResetGuard(ctx context.Context) error {
	if err := k.amend(ctx, (*ledger.Record).ResetGuard); err != nil {
		return err
	}
	k.sessions.forgive()
	k.bearers.forgive()
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

// Close ends the Keeper: whoever asks for tokens from now on gets ErrClosed. It
// waits for a login or a rotation under way, because leaving one alone could cost
// a strike; when ctx ends before, it goes on by itself, and Close says so.
//
// The session stays alive, for the next start and for others who share the State.
// Call LogOut before if it should end.
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
	for _, done := range []<-chan struct{}{logIn.landed(), renewal.landed()} {
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

// Format implements fmt.Formatter: it shows where the Keeper points to, whatever
// the verb, and nothing of what it keeps.
func (k *Keeper) Format(f fmt.State, _ rune) {
	if k == nil {
		_, _ = io.WriteString(f, "keeper.Keeper(nil)")
		return
	}
	_, _ = fmt.Fprintf(f, "keeper.Keeper(%s)", k.baseURL)
}
