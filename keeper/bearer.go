package keeper

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/keeper/internal/ledger"
)

// bearerLimit bounds a renewal of the access token.
const bearerLimit = time.Minute

// bearerMargin is how long before its end a bearer is renewed in the background.
const bearerMargin = time.Minute

// bearerRest is how long a bearer is kept at least if the ones before it were refused as
// quickly. It bounds the requests for tokens if the upstream refuses every token that it
// returns. It does not apply to the first such bearer, which may be from the cache of the
// upstream's client, and as old as the one that it replaced.
const bearerRest = time.Second

// maxBearerLife bounds the lifetime of a bearer. The documented one is an hour.
const maxBearerLife = 24 * time.Hour

// bearer is an access token.
type bearer struct {
	latchkey.AccessToken
	header   []string // the value of its header
	keeper   *Keeper
	life     time.Duration // from when it was fetched
	refusals int           // of the bearers before it, in a row, each within a minute
	cached   bool          // it may be as old as the one before: see bearerRest

	due     atomic.Bool // refused, or close to its end
	over    atomic.Bool // refused for certain
	refused atomic.Bool // marked as refused: a resource of the upstream refused it
	serial  uint64      // of all sessions and bearers, in the order in which they were obtained

	mu      sync.Mutex // guards fetched
	fetched time.Time
}

func (k *Keeper) newBearer(token latchkey.AccessToken, last *bearer) *bearer {
	now := k.now()
	b := &bearer{
		AccessToken: token, header: []string{"Bearer " + token.Token.Reveal()}, keeper: k, fetched: now,
		serial: k.serials.Add(1),
		life:   max(0, min(token.ExpiresAt.Sub(now), maxBearerLife)),
	}
	if last != nil && last.refused.Load() {
		b.refusals = 1
		if last.age() < freshBearer {
			b.refusals += last.refusals
		}
		b.cached = b.refusals == 1 && !b.Token.Equal(last.Token)
	}
	time.AfterFunc(b.fresh(), b.check)
	return b
}

// fresh returns how long after it was fetched b is renewed. One that was fetched late in
// its hour is kept for half of what is left.
func (b *bearer) fresh() time.Duration {
	return max(b.life-min(bearerMargin, b.life/2), bearerRest)
}

// age returns how long ago b was fetched.
func (b *bearer) age() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.keeper.now()
	b.fetched = ledger.NotAfter(b.fetched, now)
	return ledger.Since(b.fetched, now)
}

// check marks b as due if it has to be renewed.
func (b *bearer) check() {
	if b.age() >= b.fresh() {
		b.due.Store(true)
	}
}

// stale reports whether b has to be renewed. It reads the clock only if that is not the
// system's.
func (b *bearer) stale() bool {
	if b.keeper.foreign {
		b.check()
	}
	return b.due.Load()
}

// resting reports whether b was fetched too recently to be renewed.
func (b *bearer) resting() bool { return b.refusals > 1 && b.age() < bearerRest }

// usable reports whether a request with b may succeed.
func (b *bearer) usable() bool {
	return b != nil && !b.refused.Load() && (!b.stale() || b.age() < b.life)
}

// suspect reports whether b is marked as refused, and may be valid.
func (b *bearer) suspect() bool {
	return b != nil && b.refused.Load() && !b.over.Load() && b.age() < b.life
}

// renewBearer fetches another access token in place of the current one, which the client of
// the upstream has to forget as well: the Keeper alone decides when a token is renewed.
func (k *Keeper) renewBearer(ctx context.Context, _ bool) (*bearer, error) {
	last := k.bearers.current.Load()
	if last != nil {
		k.config.Upstream.InvalidateAccessToken(last.Token)
	}
	token, err := k.config.Upstream.AccessToken(ctx)
	if err != nil {
		err = fmt.Errorf("keeper: no access token: %w", err)
		k.note(Event{Kind: EventBearerFailed, Err: err})
		return nil, err
	}
	k.note(Event{Kind: EventBearer})
	return k.newBearer(token, last), nil
}

// askUpstream returns an error unless the upstream returns a fresh access token.
func (k *Keeper) askUpstream(ctx context.Context) error {
	token, err := k.config.Upstream.AccessToken(ctx)
	if err == nil { // it may come from a cache
		k.config.Upstream.InvalidateAccessToken(token.Token)
		_, err = k.config.Upstream.AccessToken(ctx)
	}
	return err
}
