package authority_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/store/sqlite"
)

// dying is the stores of a process that hangs with its attempts under way, and which
// may be dead.
type dying struct {
	authority.SessionStore
	authority.StrikeStore
	hang time.Duration
	dead atomic.Bool
}

func (d *dying) CreateSession(ctx context.Context, session authority.Session) error {
	hang := time.NewTimer(d.hang)
	defer hang.Stop()
	<-hang.C
	return d.SessionStore.CreateSession(ctx, session)
}

// UpdateStrikes fails when a dead process would extend a reservation. Those that settle
// one reach the database: what they find there is what the test is about.
func (d *dying) UpdateStrikes(
	ctx context.Context, key authority.StrikeKey, change func(*authority.Strikes) error,
) error {
	return d.StrikeStore.UpdateStrikes(ctx, key, func(s *authority.Strikes) error {
		before := slices.Clone(s.Reservations)
		err := change(s)
		if d.dead.Load() && len(s.Reservations) == len(before) && len(before) > 0 && !slices.Equal(s.Reservations, before) {
			return errors.New("dead")
		}
		return err
	})
}

// TestAReservationLivesAsLongAsItsAttempt begins attempts in a process that takes long,
// or dies.
func TestAReservationLivesAsLongAsItsAttempt(t *testing.T) {
	for name, c := range map[string]struct {
		hang time.Duration
		dead bool
		want error         // of the attempts
		wait time.Duration // of another process's login, at most
	}{
		"a process that takes long": {25 * time.Second, false, nil, 26 * time.Second},
		"a process that dies":       {25 * time.Second, true, authority.ErrReservationLost, 11 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx := context.Background()
				db, err := sqlite.Open(ctx, sqlite.Options{})
				want(t, "a database", err, nil)
				stores := db.Stores()
				slow := &dying{SessionStore: stores.Sessions, StrikeStore: stores.Strikes, hang: c.hang}
				slow.dead.Store(c.dead)
				rules := func(stores authority.Stores) *authority.Authority {
					a, err := authority.New(authority.Config{
						Stores: stores, Key: serverKey, Hash: cheap, Log: slog.New(slog.DiscardHandler),
					})
					want(t, "an authority", err, nil)
					return a
				}
				sound := rules(stores)
				stores.Sessions, stores.Strikes = slow, slow
				victim := rules(stores)
				want(t, "a user", sound.AddKnownUser(ctx, "zaphod", "right", authority.Origin{}), nil)
				var begun sync.WaitGroup
				for range 5 {
					begun.Go(func() {
						if _, err := victim.LogIn(ctx, "zaphod", "right", authority.Origin{}); !errors.Is(err, c.want) {
							t.Errorf("an attempt ended with %v", err)
						}
					})
				}
				synctest.Wait()
				began := time.Now()
				_, err = sound.LogIn(ctx, "zaphod", "right", authority.Origin{})
				if took := time.Since(began); err != nil || took > c.wait || !c.dead && took < c.hang {
					t.Errorf("a login elsewhere took %v, error %v", took, err)
				}
				begun.Wait()
				want(t, "closing", db.Close(ctx), nil)
			})
		})
	}
}
