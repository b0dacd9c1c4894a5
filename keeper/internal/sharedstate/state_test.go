package sharedstate_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/keeper"
	"github.com/latchkey/latchkey/keeper/internal/sharedstate"
)

// pass lets time pass in a bubble.
func pass(d time.Duration) { <-time.After(d) }

func acquire(t *testing.T, state keeper.State) keeper.Lease {
	t.Helper()
	lease, err := state.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return lease
}

func save(t *testing.T, lease keeper.Lease, data latchkey.Secret) {
	t.Helper()
	if err := lease.Save(t.Context(), data); err != nil {
		t.Fatalf("Save: %v", err)
	}
}

func release(t *testing.T, lease keeper.Lease) {
	t.Helper()
	if err := lease.Release(t.Context()); err != nil {
		t.Errorf("Release: %v", err)
	}
}

func want(t *testing.T, state keeper.State, data latchkey.Secret) {
	t.Helper()
	if saved, err := state.Load(t.Context()); err != nil || !saved.Data.Equal(data) {
		t.Errorf("Load: %q, %v, want %q", saved.Data.Reveal(), err, data.Reveal())
	}
}

func TestALeaseLastsUntilItIsGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &database{}
		slow, _ := replica(t, d)
		other, _ := replica(t, d)
		ctx, cancel := context.WithCancel(t.Context())
		lease, err := slow.Acquire(ctx)
		if err != nil {
			t.Fatal(err)
		}
		cancel() // which is no end to it
		patient, stop := context.WithTimeout(t.Context(), 10*time.Minute)
		defer stop()
		_, err = other.Acquire(patient)
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "another keeper holds the lease") {
			t.Errorf("who waited for ten minutes is notified %v", err)
		}
		if d.takes < 10*60*10 || d.takes > 10*60*20 {
			t.Errorf("it was looked %d times in ten minutes, want 10 to 20 in a second", d.takes)
		}
		save(t, lease, "slow")
		release(t, lease)
		begun := time.Now()
		release(t, acquire(t, other))
		if took := time.Since(begun); took != 0 {
			t.Errorf("a free lease took %v", took)
		}
		want(t, other, "slow")
	})
}

func TestALeaseOfOneThatIsCutOffEndsAfterItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &database{}
		late, link := replica(t, d)
		other, _ := replica(t, d)
		lease := acquire(t, late)
		save(t, lease, "before")
		pass(time.Minute)
		link.suffer(cut)
		begun := time.Now()
		next := acquire(t, other)
		if took := time.Since(begun); took < sharedstate.TTL*2/3-time.Second || took > sharedstate.TTL+time.Second {
			t.Errorf("the next one got it after %v", took)
		}
		save(t, next, "next")
		pass(time.Minute)
		if err := lease.Save(t.Context(), "late"); !errors.Is(err, errCut) {
			t.Errorf("Save while cut off: %v", err)
		}
		link.suffer(nil)
		if err := lease.Save(t.Context(), "late"); !errors.Is(err, keeper.ErrLeaseLost) {
			t.Errorf("Save when it was lost: %v", err)
		}
		want(t, late, "next")
		release(t, lease)
		save(t, next, "next again") // it is still that one's
		release(t, next)
		if err := lease.Save(t.Context(), "late"); !errors.Is(err, keeper.ErrLeaseLost) {
			t.Errorf("Save when no holder has it any more: %v", err)
		}
		want(t, other, "next again")
	})
}

// The outcome of a login is worth recording as long as no other holder has begun one.
func TestALeaseThatNoOtherHolderGotStillSaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &database{}
		state, link := replica(t, d)
		lease := acquire(t, state)
		link.suffer(cut)
		pass(10 * time.Minute)
		go func() {
			pass(5 * time.Second)
			link.suffer(nil)
		}()
		save(t, lease, "after all") // which has the patience
		pass(10 * time.Minute)      // and it is renewed again
		other, _ := replica(t, d)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := other.Acquire(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("another one waits for the lease and is notified %v", err)
		}
		release(t, lease)
		want(t, other, "after all")
	})
}

func TestACallWhoseAnswerIsLostIsRepeatedWithoutHarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &database{}
		state, link := replica(t, d)
		once := func() {
			done := false
			link.suffer(func(_ context.Context, do func()) error {
				if do(); done {
					return nil
				}
				done = true
				return errCut
			})
		}
		once()
		lease := acquire(t, state)
		once()
		save(t, lease, "once")
		once()
		save(t, lease, "twice")
		once()
		release(t, lease)
		once()
		want(t, state, "twice")
		if d.epoch != 3 { // the lease, and two saves
			t.Errorf("epoch %d, want 3", d.epoch)
		}
	})
}

// A save that hangs on the way must not undo the one after it.
func TestASaveThatArrivesLateChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &database{}
		state, link := replica(t, d)
		lease := acquire(t, state)
		var onTheWay []func()
		link.suffer(func(_ context.Context, do func()) error {
			onTheWay = append(onTheWay, do)
			return errCut
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := lease.Save(ctx, "early"); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, errCut) {
			t.Errorf("Save: %v, want both causes", err)
		}
		link.suffer(nil)
		save(t, lease, "later")
		for _, do := range onTheWay {
			do()
		}
		want(t, state, "later")
		release(t, lease)
	})
}

func TestADatabaseThatDoesNotAnswerIsAnErrorInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		state, link := replica(t, &database{})
		lease := acquire(t, state)
		for name, trouble := range map[string]func(context.Context, func()) error{"cut": cut, "silent": silent,
			"lost": answerLost} {
			link.suffer(trouble)
			for call, limit := range map[string]struct {
				do     func() error
				within time.Duration
			}{
				"Load":    {func() error { _, err := state.Load(t.Context()); return err }, 6 * time.Second},
				"Touch":   {func() error { return state.Touch(t.Context(), time.Now()) }, 6 * time.Second},
				"Acquire": {func() error { _, err := state.Acquire(t.Context()); return err }, 6 * time.Second},
				"Save":    {func() error { return lease.Save(t.Context(), "x") }, 16 * time.Second},
			} {
				begun := time.Now()
				err := limit.do()
				if err == nil || errors.Is(err, keeper.ErrLeaseLost) || time.Since(begun) > limit.within {
					t.Errorf("%s, %s: %v after %v", name, call, err, time.Since(begun))
				}
				if name == "silent" && !strings.Contains(err.Error(), "no response within 5s") {
					t.Errorf("%s, %s: %v", name, call, err)
				}
			}
		}
		if err := lease.Release(t.Context()); err == nil {
			t.Error("Release says that it is given back")
		}
	})
}
