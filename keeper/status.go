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
}

// Status reads the State and the credential, and answers how things stand. It
// sends nothing.
func (k *Keeper) Status(ctx context.Context) (Status, error) {
	saved, err := k.config.State.Load(ctx)
	if err != nil {
		return Status{}, stateError("load", err)
	}
	shared, err := decodeRecord(saved.Data)
	if err != nil {
		return Status{}, err
	}
	var status Status
	if b := k.bearers.current.Load(); b.usable() {
		status.BearerExpiresAt = b.ExpiresAt
	}
	if found := shared.Session; found != nil && found.Upstream == shared.fingerprint(k.baseURL) {
		status.LoggedInAt, status.LastUse = found.Created, later(found.Created, saved.LastUse)
		held := k.sessions.current.Load()
		if held != nil && held.token.Equal(found.secret()) {
			status.LastUse = later(status.LastUse, held.lastUse())
			status.Live = !held.refused.Load()
		} else {
			status.Live = true
		}
		status.Live = status.Live && time.Since(status.LastUse) < k.idleLimit()
	}
	credential, err := k.config.Credential.Credential(ctx)
	if err != nil {
		return status, fmt.Errorf("keeper: the credential cannot be read: %w", err)
	}
	id := shared.identify(k.baseURL, credential)
	status.Latched, status.Strikes = shared.latched(id), shared.account(id.account).Strikes
	return status, nil
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
