package keeper

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"time"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/credential"
	"github.com/latchkey/latchkey/keeper/internal/ledger"
)

// Upstream is the service that the session is with. *latchkey.Client is one.
//
// LogIn must send a login at most once. The errors must be those of package latchkey,
// which show what a failed login may have cost. Any other error counts as a strike.
type Upstream interface {
	// BaseURL returns the URL below which requests carry the tokens.
	BaseURL() string
	// LogIn starts a session and returns its token. If the gateway refuses the access
	// token (latchkey.ErrUnauthorized), the next call gets a fresh one.
	LogIn(ctx context.Context, user string, password latchkey.Secret) (latchkey.Secret, error)
	LogOut(ctx context.Context, session latchkey.Secret) error
	// AccessToken may return a cached token until InvalidateAccessToken is called.
	AccessToken(ctx context.Context) (latchkey.AccessToken, error)
	InvalidateAccessToken(token latchkey.Secret)
}

var _ Upstream = (*latchkey.Client)(nil)

// Config configures a Keeper. Upstream and State are required, and either Credential or
// Rotation.
type Config struct {
	Upstream Upstream
	// Credential is what the user name and the password are loaded from before each
	// login, so that a change there takes effect without a restart. It must be nil if
	// Rotation is set, whose Store then holds them.
	Credential credential.Source
	// Rotation lets the Keeper change the password. Default: nil, so that the password
	// is only ever changed elsewhere.
	Rotation *Rotation
	// State is shared by the Keepers that use the same session. It has no default,
	// because it decides what protects the account: a FileState keeps the count of
	// failed logins over restarts, and a MemoryState does not.
	State State

	// IdleTimeout is how long the upstream lets a session be unused. Default: 20
	// minutes, as documented. The Keeper replaces a session half a minute (a fortieth)
	// earlier, so that no request arrives too late.
	IdleTimeout time.Duration
	// Now is the clock. Default: that of the Upstream, if it is a *latchkey.Client whose
	// Config.Now is set, and time.Now otherwise. It is for tests. A Keeper with a clock
	// of its own reads it for each request.
	Now func() time.Time
	// OnEvent, if set, is called for each event, in the goroutine in which the event
	// happens. It must return soon, may be called concurrently, and must not wait for a
	// token, because it may be called while the token is being renewed.
	OnEvent func(Event)
	// Log gets each event. Default: slog.Default().
	Log *slog.Logger
}

// New returns a Keeper. It uses neither the network nor the State: the first request
// does, or the first check for an unfinished rotation and an old password, a minute
// later. The error lists every fault of the configuration, one per line.
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
		fault("State is missing: NewFileState(path) keeps the session and the count of failed logins over restarts, " +
			"NewMemoryState() does not, so that restarts may lock the account")
	}
	k := &Keeper{config: config, counters: newCounters(), rotation: make(chan struct{}, 1), closing: make(chan struct{})}
	k.now, k.foreign = clockOf(config)
	k.resources.now = k.now
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
	k.initRenewers()
	k.nextLook.set(k.now(), firstLook)
	k.watch = time.AfterFunc(lookEvery, k.look)
	k.watch.Reset(firstLook) // now that look can use k.watch
	return k, nil
}

// initRenewers makes the renewers of the tokens ready for use.
func (k *Keeper) initRenewers() {
	k.sessions.usable = func(s *session) bool { return s != nil && !s.dead() && !s.refused.Load() }
	k.sessions.suspect = func(s *session) bool { return s != nil && !s.dead() && s.refused.Load() }
	k.sessions.due = func(*session) bool { return false }
	k.sessions.fetch, k.sessions.limit, k.sessions.now = k.renewSession, renewLimit, k.now
	k.sessions.next, k.sessions.lookEvery = "the next login may be made", latchedPause
	k.bearers.usable, k.bearers.due = (*bearer).usable, (*bearer).stale
	k.bearers.suspect = (*bearer).suspect
	k.bearers.fetch, k.bearers.limit, k.bearers.now = k.renewBearer, bearerLimit, k.now
	k.bearers.next = "the next access token may be asked for"
}
