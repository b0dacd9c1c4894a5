package keeper_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey/latchkey/keeper"
)

// A keeper that logs in, records the session, and then keeps the lease for long (it
// goes on to change the password, or hangs) does not keep others from that session.
func TestASessionIsFoundAlthoughTheLeaseIsHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, state := newModel(), newDurable()
		one := newKeeper(t, m, keeper.Config{State: state})
		lease, err := state.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = lease.Release(context.Background()) }()
		waiting := make(chan answer, 1)
		began := time.Now()
		go func() { waiting <- get(one.Transport(m)) }()
		pass(time.Second)
		// The holder's own login, recorded under its lease.
		held := &borrowed{state, lease}
		holder := newKeeper(t, m, keeper.Config{State: held})
		get(holder.Transport(m)).ok(t)
		(<-waiting).ok(t)
		if took := time.Since(began); took > 35*time.Second {
			t.Errorf("it took %v", took)
		}
		if m.logIns != 1 {
			t.Errorf("%d logins", m.logIns)
		}
	})
}

// borrowed is a State whose lease is held already.
type borrowed struct {
	keeper.State
	lease keeper.Lease
}

func (b *borrowed) Acquire(context.Context) (keeper.Lease, error) { return kept{b.lease}, nil }

type kept struct{ keeper.Lease }

func (kept) Release(context.Context) error { return nil }
