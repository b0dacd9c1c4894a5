package keeper

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/credential"
)

var (
	errEnded = errors.New("the program that began it has ended")
	// errOldHolds ends a rotation of which no answer came.
	errOldHolds = errors.New("no answer came to the reset, and a login has shown that it was not carried out")
	errNoStore  = errors.New("the place of the credential cannot be written (it is no credential.Store)")
)

// finish brings a recorded rotation to its end: it stores the new password, if
// there is one, and has a login tell which one holds. cause is why there may be
// none. Call it under the lease.
func (k *Keeper) finish(ctx context.Context, lease Lease, shared *record, cause error) error {
	pending := shared.Rotation
	if pending == nil {
		return nil
	}
	c, err := k.credential(ctx)
	if err != nil {
		return k.rotationFailed(RotationInDoubt, pending.Begun, err)
	}
	if shared.identify(k.baseURL, c).account != pending.Account {
		return errors.New("keeper: a rotation of another user's password, or at another upstream, was not finished: " +
			"finish it with that user's credential first")
	}
	_, known := pending.password()
	if pending.ProvenAt.IsZero() {
		err = k.proveByLogIn(ctx, lease, shared, c)
	}
	if shared.Rotation != nil && !pending.ProvenAt.IsZero() {
		err = k.storeProven(ctx, lease, shared)
	}
	if shared.Rotation == nil {
		if !known && shared.age(pending.Account).Credential == pending.Old {
			return &RotationError{State: RotationNone, Since: pending.Begun, Err: errors.Join(errOldHolds, cause)}
		}
		return nil
	}
	if c, loadErr := k.credential(ctx); loadErr == nil {
		return k.rotationFailed(shared.rotationState(k.baseURL, c), pending.Begun, errors.Join(cause, err))
	}
	return k.rotationFailed(RotationUnsaved, pending.Begun, errors.Join(cause, err))
}

// proveAgain gives a new password, whose proof failed with err because it was refused
// for the first time, another one when the pause after a strike is over. It is not
// under the lease, so that others can use the session that there is. If the wait is
// ended, whoever logs in next proves the password.
func (k *Keeper) proveAgain(ctx context.Context, err error) error {
	var rotation *RotationError
	if !errors.As(err, &rotation) || rotation.State != RotationUnproven || !errors.Is(err, latchkey.ErrInvalidCredentials) ||
		k.foreign { // by that clock no time may pass
		return err
	}
	timer := time.NewTimer(k.strikePause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return err
	case <-k.closing:
		return err
	}
	ctx = context.WithoutCancel(ctx)
	return k.underLease(ctx, func(lease Lease, shared *record) error {
		return k.finish(ctx, lease, shared, nil)
	})
}

func (k *Keeper) proveByLogIn(ctx context.Context, lease Lease, shared *record, c credential.Credential) error {
	s, err := k.logIn(ctx, lease, shared, k.sessions.current.Load(), c)
	if err == nil {
		k.install(s)
	}
	return err
}

// storeProven stores a new password that a login has proven already.
func (k *Keeper) storeProven(ctx context.Context, lease Lease, shared *record) error {
	c, err := k.credential(ctx)
	if err != nil {
		return err
	}
	pending := shared.Rotation
	if _, err := k.effective(ctx, shared, c); err != nil {
		return err
	}
	shared.Rotation = nil
	k.save(ctx, lease, shared)
	k.rotationEnded(pending, identity{})
	return nil
}

// effective answers the credential that logins are made with: c, which is what
// the store holds, or the one that an unfinished rotation got. That one it brings
// into the store, and answers an error if it is not there yet.
func (k *Keeper) effective(ctx context.Context, shared *record, c credential.Credential) (credential.Credential, error) {
	held := shared.identify(k.baseURL, c)
	pending := shared.rotationOf(held.account)
	password, known := pending.password()
	if !known || c.Password.Equal(password) {
		return c, nil
	}
	next := c
	next.Password = password
	if shared.refused(shared.identify(k.baseURL, next)) != nil {
		return c, nil
	}
	if held.credential != pending.Old && pending.ProvenAt.IsZero() {
		// Somebody has put a third one there. Which is right, the login will tell.
		return next, errors.New("the store holds a password from elsewhere")
	}
	store, ok := k.config.Credential.(credential.Store)
	if !ok {
		return next, errNoStore
	}
	k.step(stepStore)
	stored, err := put(ctx, store, next)
	if err != nil {
		return next, err
	}
	return stored, nil
}

// rotationEnded tells how a rotation ended that a login as id has settled.
func (k *Keeper) rotationEnded(pending *rotation, id identity) {
	k.rescued.Store(nil)
	_, known := pending.password()
	switch {
	case known && id.credential != pending.Old:
		k.note(Event{Kind: EventRotated})
	case id.credential == pending.Old:
		k.note(Event{Kind: EventRotationFailed, Err: &RotationError{State: RotationNone, Since: pending.Begun, Err: errOldHolds}})
	}
}

// put saves c in the store, makes sure that it is there, and answers it with its
// version.
func put(ctx context.Context, store credential.Store, c credential.Credential) (credential.Credential, error) {
	ctx, cancel := context.WithTimeout(ctx, storeLimit)
	defer cancel()
	version, err := store.Save(ctx, c)
	if err != nil {
		return c, err
	}
	found, err := store.Load(ctx)
	switch {
	case err != nil:
		return c, fmt.Errorf("the store saved it, and cannot be read since: %w", err)
	case found.User != c.User || !found.Password.Equal(c.Password) || found.Version != version || version == c.Version:
		return c, errors.New("the store says that it saved, and answers something else: " +
			"it cannot be relied on, or somebody else writes to it at the same time")
	}
	return found, nil
}
