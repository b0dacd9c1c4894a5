package keeper

import (
	"cmp"
	"context"
	"time"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/keeper/internal/ledger"
)

// Status is the state of a Keeper, for people.
type Status struct {
	// Live reports whether there is a session that the upstream should accept.
	Live       bool
	LoggedInAt time.Time // zero without a session
	LastUse    time.Time // of the session by any Keeper that shares the State, to half a minute
	// BearerExpiresAt is zero while this Keeper has no access token.
	BearerExpiresAt time.Time
	// Strikes is how many failed logins in a row the upstream may have counted
	// against the account.
	Strikes int
	// Latched is set if no login is made until an operator acts, and Waiting if none is made
	// for some time. Both are nil if a login would be made at once. Waits of other Keepers
	// that share the State are included as far as they concern the account.
	Latched *LatchedError
	Waiting *WaitError

	// PasswordSince is when the password was generated if PasswordMade is set. Otherwise it
	// is when the password was first seen, and the password may be older. It is zero before
	// the first login.
	PasswordSince time.Time
	PasswordMade  bool
	// RotateAt is when the password is rotated because of Rotation.Every; zero for never.
	RotateAt time.Time
	// Rotation is how far an unfinished rotation has come, and RotationBegun when it was
	// begun. A rotation that is being executed looks the same.
	Rotation      RotationState
	RotationBegun time.Time
}

// Status reads the State and the credential, and returns the current status. It sends
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

// Waiting returns why this Keeper makes no attempt to get a token now, and until when, or nil
// if it would make one or is latched. It reads memory only.
func (k *Keeper) Waiting() *WaitError {
	return cmp.Or(k.sessions.waiting(), k.bearers.waiting())
}

// waiting returns the wait for the next login, or nil if there is none.
func (k *Keeper) waiting(view ledger.View, now time.Time) *WaitError {
	wait := k.sessions.waiting()
	if view.Left > 0 && (wait == nil || view.Left > wait.Wait) {
		soon := &tooSoonError{why: view.Reason, left: view.Left}
		wait = &WaitError{Err: soon, Until: now.Add(view.Left), Wait: view.Left, next: k.sessions.next}
	}
	return wait
}
