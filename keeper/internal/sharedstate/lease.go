package sharedstate

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/keeper"
)

// lease is a claim that is renewed. The Store alone decides whether it is still valid, in
// the same step as each write: one that was not renewed in time is valid until another
// holder gets the lease.
type lease struct {
	state *State
	mu    sync.Mutex // held while saving
	claim Claim
	stop  context.CancelFunc
	ended chan struct{} // closed when it is no longer renewed
}

// Format implements fmt.Formatter. Without it fmt would follow the pointers.
func (l *lease) Format(f fmt.State, verb rune) { l.state.Format(f, verb) }

// renew runs until ctx ends or another holder has the lease. After a failure it tries again
// at the next tick: a Store that cannot be reached gives the lease to no other holder.
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

// Save implements keeper.Lease. It repeats the call for longer than other methods, because a
// login whose outcome cannot be recorded counts as a strike.
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

// Release implements keeper.Lease. Releasing a lost lease has no effect.
func (l *lease) Release(ctx context.Context) error {
	l.stop()
	<-l.ended
	_, err := ask(ctx, l.state, patience, func(ctx context.Context) (bool, error) {
		return l.state.store.Extend(ctx, l.claim.Holder, 0)
	})
	return err
}
