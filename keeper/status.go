package keeper

import (
	"cmp"
	"context"
	"fmt"
	"time"
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
	// RotateAt is when Config.RotateEvery has the password changed; zero for never.
	RotateAt time.Time
	// Rotation is how far one came that was not finished, and RotationBegun when
	// it was begun. One that is under way this very moment looks the same.
	Rotation      RotationState
	RotationBegun time.Time
}

// Status reads the State and the credential, and answers how things stand. It
// sends nothing.
func (k *Keeper) Status(ctx context.Context) (Status, error) {
	shared, lastUse, err := k.load(ctx)
	if err != nil {
		return Status{}, err
	}
	var status Status
	now := k.now()
	if b := k.bearers.current.Load(); b.usable() {
		status.BearerExpiresAt = b.ExpiresAt
	}
	if found := shared.Session; found != nil && found.Upstream == shared.fingerprint(k.baseURL) {
		status.LoggedInAt, status.LastUse = found.Created, later(found.Created, lastUse)
		held := k.sessions.current.Load()
		if held != nil && held.token.Equal(found.secret()) {
			status.LastUse = later(status.LastUse, held.lastUse())
			status.Live = !held.refused.Load()
		} else {
			status.Live = !found.Refused
		}
		status.Live = status.Live && since(status.LastUse, now) < k.idleLimit()
	}
	c, err := k.config.Credential.Load(ctx)
	if err != nil {
		return status, fmt.Errorf("keeper: the credential cannot be read: %w", err)
	}
	status.Rotation = shared.rotationState(k.baseURL, c)
	id := shared.identify(k.baseURL, c)
	if pending := shared.rotationOf(id.account); pending != nil {
		status.RotationBegun = past(pending.Begun, now)
		if password, known := pending.password(); known { // which is what logins use
			c.Password = password
			id = shared.identify(k.baseURL, c)
		}
	}
	status.Latched, status.Strikes = shared.latched(id), shared.account(id.account).Strikes
	if status.Latched == nil {
		status.Waiting = k.waiting(shared, id, now)
	}
	if age := shared.age(id.account); age != nil {
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

// waiting returns the wait for the next login as id; nil if there is none.
func (k *Keeper) waiting(shared *record, id identity, now time.Time) *WaitError {
	wait := k.sessions.waiting()
	of := func(soon *tooSoonError) {
		if soon != nil && soon.left > 0 && (wait == nil || soon.left > wait.Wait) {
			wait = &WaitError{Err: soon, Until: now.Add(soon.left), Wait: soon.left, next: k.sessions.next}
		}
	}
	if a := shared.account(id.account); a.Strikes > 0 {
		of(&tooSoonError{a.Reason, k.strikePause - since(a.Since, now)})
	}
	if s := shared.Session; s != nil && s.Refused && s.Account == id.account {
		of(s.tooSoon(since(s.Created, now)))
	}
	return wait
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
