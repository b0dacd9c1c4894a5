package keeper

import (
	"cmp"
	"context"
	"time"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/keeper/internal/ledger"
)

// Status is what a person wants to know of a Keeper.
type Status struct {
	// Live reports whether there is a session that should be accepted.
	Live       bool
	LoggedInAt time.Time // zero without a session
	LastUse    time.Time // of the session by anybody who shares the State, to half a minute
	// BearerExpiresAt is zero while this Keeper has no access token.
	BearerExpiresAt time.Time
	// Strikes is how many failed logins in a row the upstream may have counted
	// against the account.
	Strikes int
	// Latched says why no login is made until somebody acts, and Waiting, why none
	// is made now, and until when. Both are nil if one would be made at once. How
	// long other Keepers wait that share the State is known as far as it concerns
	// the account.
	Latched *LatchedError
	Waiting *WaitError

	// PasswordSince is when the password was made, if PasswordMade, or else when
	// it was seen first, so that it may be older. It is zero before the first login.
	PasswordSince time.Time
	PasswordMade  bool
	// RotateAt is when Rotation.Every has the password changed; zero for never.
	RotateAt time.Time
	// Rotation is how far one came that was not finished, and RotationBegun when
	// it was begun. One that is under way this very moment looks the same.
	Rotation      RotationState
	RotationBegun time.Time
}

// Status reads the State and the credential, and returns how things stand. It sends
// nothing.
func (k *Keeper) Status(ctx context.Context) (Status, error) {
	record, err := k.load(ctx)
	if err != nil {
		return Status{}, err
	}
	c, unreadable := k.loadCredential(ctx)
	now := k.now()
	view := k.rules.View(record, forLedger(c), now)
	var status Status
	if b := k.bearers.current.Load(); b.usable() {
		status.BearerExpiresAt = b.ExpiresAt
	}
	if found := view.Session; found != nil {
		status.LoggedInAt, status.LastUse, status.Live = found.Created, view.LastUse, !found.Refused
		held := k.sessions.current.Load()
		if held != nil && held.token.Equal(latchkey.Secret(found.Token)) {
			status.Live = !held.refused.Load()
			if used := held.lastUse(); used.After(status.LastUse) {
				status.LastUse = used
			}
		}
		status.Live = status.Live && ledger.Since(status.LastUse, now) < k.idleLimit()
	}
	if unreadable != nil {
		return status, unreadable
	}
	status.Rotation, status.RotationBegun, status.Strikes = stateOf(view.Phase), view.Begun, view.Strikes
	if view.Latch.Kind != ledger.Unlatched {
		status.Latched = newLatchedError(view.Latch, nil)
	} else {
		status.Waiting = k.waiting(view, now)
	}
	if age := view.Password; age != nil {
		status.PasswordSince, status.PasswordMade = age.Since, age.Made
		status.RotateAt = k.rotateAt(age)
	}
	return status, nil
}

// Waiting returns why this Keeper asks for no token now, and for how long; nil if it
// would, or if it is latched. It looks at nothing but memory.
func (k *Keeper) Waiting() *WaitError {
	return cmp.Or(k.sessions.waiting(), k.bearers.waiting())
}

// waiting returns the wait for the next login; nil if there is none.
func (k *Keeper) waiting(view ledger.View, now time.Time) *WaitError {
	wait := k.sessions.waiting()
	if view.Left > 0 && (wait == nil || view.Left > wait.Wait) {
		soon := &tooSoonError{why: view.Reason, left: view.Left}
		wait = &WaitError{Err: soon, Until: now.Add(view.Left), Wait: view.Left, next: k.sessions.next}
	}
	return wait
}
