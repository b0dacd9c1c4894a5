package keeper_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey/latchkey/credential"
	"github.com/latchkey/latchkey/keeper"
)

// lagging is an upstream whose logins know a new password only after lag, and what
// rotates it.
type lagging struct {
	*testing.T
	*model
	store *credential.File
	state keeper.State
}

func inLag(t *testing.T, lag time.Duration, test func(*lagging, *keeper.Keeper)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := &lagging{T: t, model: newModel(), store: newStore(t, t.TempDir()), state: newDurable()}
		k := l.keeper()
		get(k.Transport(l)).ok(t)
		l.lag = lag
		test(l, k)
	})
}

func (l *lagging) keeper() *keeper.Keeper {
	return newKeeper(l.T, l.model, keeper.Config{Credential: l.store, State: l.state})
}

// is wants that the store holds the new password, and so many strikes at most.
func (l *lagging) is(k *keeper.Keeper, state keeper.RotationState, strikes int) {
	l.Helper()
	c, err := l.store.Load(l.Context())
	if err != nil || c.Password != "made1" {
		l.Errorf("the store holds %s, error %v", c.Password.Reveal(), err)
	}
	if status, err := k.Status(l.Context()); err != nil || status.Rotation != state {
		l.Errorf("status says %q, error %v, want %q", status.Rotation, err, state)
	}
	if len(l.resets) != 1 || l.maxStrikes > strikes {
		l.Errorf("%d resets, %d strikes", len(l.resets), l.maxStrikes)
	}
	get(k.Transport(l)).ok(l)
}

// The new password is refused at first: that is one strike, and no latch.
func TestANewPasswordMayBeKnownLate(t *testing.T) {
	inLag(t, 2*time.Second, func(l *lagging, k *keeper.Keeper) {
		began := time.Now()
		if err := k.Rotate(l.Context()); err != nil {
			l.Errorf("after %v: %v", time.Since(began), err)
		}
		if took := time.Since(began); took > 15*time.Second {
			l.Errorf("it took %v", took)
		}
		l.is(k, keeper.RotationNone, 1)
		if l.strikes != 0 {
			l.Error("the strikes were not cleared by a login")
		}
	})
}

// It is refused for longer: two strikes in all, over restarts and other keepers, until
// an operator says that it is known now.
func TestANewPasswordThatStaysUnknownCostsTwoStrikes(t *testing.T) {
	inLag(t, time.Hour, func(l *lagging, k *keeper.Keeper) {
		var rotation *keeper.RotationError
		if err := k.Rotate(l.Context()); !errors.As(err, &rotation) || rotation.State != keeper.RotationRefused {
			l.Errorf("got %v", err)
		}
		l.is(k, keeper.RotationRefused, 2)
		other := l.keeper()
		for range 40 {
			_ = k.ResumeRotation(l.Context())
			_ = other.ResumeRotation(l.Context())
			get(other.Transport(l)).ok(l)
			pass(time.Minute)
		}
		l.is(k, keeper.RotationRefused, 2)
		pass(time.Until(l.resets[0].Add(l.lag)))
		if err := errors.Join(k.ResetGuard(l.Context()), k.ResumeRotation(l.Context())); err != nil {
			l.Error(err)
		}
		l.is(k, keeper.RotationNone, 2)
	})
}

// The wait for the second login ends with its caller, with the Keeper, and with the
// program. Another caller makes that login then, and only that one.
func TestTheWaitForALatePasswordMayEnd(t *testing.T) {
	t.Run("caller", func(t *testing.T) {
		inLag(t, 2*time.Second, func(l *lagging, k *keeper.Keeper) {
			ctx, cancel := context.WithTimeout(l.Context(), 5*time.Second)
			defer cancel()
			var rotation *keeper.RotationError
			if err := k.Rotate(ctx); !errors.As(err, &rotation) || rotation.State != keeper.RotationUnproven {
				l.Errorf("got %v", err)
			}
			l.is(k, keeper.RotationUnproven, 1)
			pass(2 * time.Minute)
			l.is(k, keeper.RotationNone, 1)
		})
	})
	t.Run("program", func(t *testing.T) {
		inLag(t, 30*time.Second, func(l *lagging, k *keeper.Keeper) {
			done := make(chan error)
			go func() { done <- k.Rotate(l.Context()) }()
			pass(5 * time.Second)
			closeKeeper(l, k)
			if err := <-done; err == nil {
				l.Error("a rotation that a Close has ended says nothing")
			}
			pass(30 * time.Second)
			other := l.keeper()
			l.is(other, keeper.RotationUnproven, 1)
			pass(2 * time.Minute)
			l.is(other, keeper.RotationNone, 1)
		})
	})
	t.Run("session", func(t *testing.T) {
		inLag(t, 2*time.Second, func(l *lagging, k *keeper.Keeper) {
			other := l.keeper()
			get(other.Transport(l)).ok(l)
			done := make(chan error)
			go func() { done <- k.Rotate(l.Context()) }()
			pass(3 * time.Second)
			l.endSessions()
			_ = get(other.Transport(l)) // which may not log in yet
			if err := <-done; err != nil {
				l.Error(err)
			}
			pass(10 * time.Second)
			get(other.Transport(l)).ok(l)
			l.is(k, keeper.RotationNone, 1)
		})
	})
}

// A locked account, and a refusal that is not by chance, are final.
func TestARefusalThatIsFinalIsNotTriedAgain(t *testing.T) {
	inLag(t, 0, func(l *lagging, k *keeper.Keeper) {
		l.lockAtReset = true
		var rotation *keeper.RotationError
		if err := k.Rotate(l.Context()); !errors.As(err, &rotation) || rotation.State != keeper.RotationRefused {
			l.Errorf("got %v", err)
		}
		before := l.logIns
		pass(time.Hour)
		if l.logIns != before {
			l.Error("the account is locked, and is tried again")
		}
	})
}
