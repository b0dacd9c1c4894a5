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

// renewLimit bounds a renewal of the access token.
const bearerLimit = time.Minute

// bearerMargin is how long before its end a bearer is renewed, while it goes on
// being used. It is that of latchkey.Client, which would answer the same one
// before.
const bearerMargin = time.Minute

// bearerRest is how soon after it was fetched a bearer may be renewed where the
// ones before it were refused as quickly: it bounds the requests for tokens where
// the upstream refuses whatever it gives out. The first such bearer is spared, for
// it may have come from the cache of the upstream's client, and be as old as the
// one that it replaced.
const bearerRest = time.Second

// maxBearerLife bounds what is believed of the lifetime of a bearer. The documented
// one is an hour.
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
	refused atomic.Bool // a resource of the upstream refused it
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

// fresh is how long after it was fetched b is renewed. One that was handed out late
// in its hour is kept for half of the rest, as latchkey.Client does.
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

// check notes it if b is to be renewed.
func (b *bearer) check() {
	if b.age() >= b.fresh() {
		b.due.Store(true)
	}
}

// stale reports whether b is to be renewed. As with sessions, only a clock that is
// not the system's is read for that.
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

// suspect reports whether b was refused, and may be good all the same.
func (b *bearer) suspect() bool {
	return b != nil && b.refused.Load() && !b.over.Load() && b.age() < b.life
}

// renewBearer gets another access token in place of the one that is held. The Keeper
// alone decides when one is renewed: what the upstream's client has cached of it is
// dropped.
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
