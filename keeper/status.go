package keeper

import (
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
	// Latched says why no login is made; nil if one would be.
	Latched *LatchedError

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
			status.Live = true
		}
		status.Live = status.Live && time.Since(status.LastUse) < k.idleLimit()
	}
	c, err := k.config.Credential.Load(ctx)
	if err != nil {
		return status, fmt.Errorf("keeper: the credential cannot be read: %w", err)
	}
	status.Rotation = shared.rotationState(k.baseURL, c)
	id := shared.identify(k.baseURL, c)
	if pending := shared.rotationOf(id.account); pending != nil {
		status.RotationBegun = pending.Begun
		if password, known := pending.password(); known { // which is what logins use
			c.Password = password
			id = shared.identify(k.baseURL, c)
		}
	}
	status.Latched, status.Strikes = shared.latched(id), shared.account(id.account).Strikes
	if age := shared.age(id.account); age != nil {
		status.PasswordSince, status.PasswordMade = age.Since, age.Made
		status.RotateAt = k.rotateAt(age)
	}
	return status, nil
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
