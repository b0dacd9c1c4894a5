package sharedstate

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/keeper"
)

// lease is a claim that is renewed. Whether it still holds, the Store alone
// decides, in the same step as each write: one that could not be renewed in time
// is good until somebody else is given one.
type lease struct {
	state *State
	mu    sync.Mutex // held while saving
	claim Claim
	stop  context.CancelFunc
	ended chan struct{} // closed when it is not renewed any more
}

// Format implements fmt.Formatter, since %s would otherwise follow the pointers.
func (l *lease) Format(f fmt.State, verb rune) { l.state.Format(f, verb) }

// renew runs until ctx ends or another has the lease. What fails is tried again
// at the next tick: while the Store is away, it gives the lease to nobody either.
func (l *lease) renew(ctx context.Context) {
	defer close(l.ended)
	ttl := l.state.config.TTL
	ticks := time.NewTicker(ttl / perTTL)
	defer ticks.Stop()
	for {
		select {
		case <-ticks.C:
		case <-ctx.Done():
			return
		}
		ours, err := ask(ctx, l.state, 0, func(ctx context.Context) (bool, error) {
			return l.state.store.Extend(ctx, l.claim.Holder, ttl)
		})
		if err == nil && !ours {
			return
		}
	}
}

// Save implements keeper.Lease. It has patience, because the outcome of a login
// that cannot be recorded counts as a failure.
func (l *lease) Save(ctx context.Context, data latchkey.Secret) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.claim.Epoch++
	s := l.state
	sealed := s.seal.close(data)
	ours, err := ask(ctx, s, s.config.TTL*2/perTTL, func(ctx context.Context) (bool, error) {
		return s.store.Save(ctx, l.claim, sealed, s.config.TTL)
	})
	if err == nil && !ours {
		return keeper.ErrLeaseLost
	}
	return err
}

// Release implements keeper.Lease. One that was lost needs no giving back.
func (l *lease) Release(ctx context.Context) error {
	l.stop()
	<-l.ended
	_, err := ask(ctx, l.state, patience, func(ctx context.Context) (bool, error) {
		return l.state.store.Extend(ctx, l.claim.Holder, 0)
	})
	return err
}
