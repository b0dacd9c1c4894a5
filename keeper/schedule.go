package keeper

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"
)

const (
	// firstLook is how soon after New the first look at the password is taken, and
	// lookEvery how often it is repeated. While a rotation is not finished, the
	// looks begin anew at firstLook and come at double the distance each time.
	firstLook = time.Minute
	lookEvery = time.Hour
	// lookLimit bounds one look, and the rotation that it may lead to.
	lookLimit = 10 * time.Minute
	// oldAfter is the age at which a password is warned of: the vendor advises to
	// change it every 90 days.
	oldAfter = 80 * 24 * time.Hour
	// warnEvery is how often.
	warnEvery = 24 * time.Hour
	// minRotateEvery bounds Config.RotateEvery.
	minRotateEvery = time.Hour
)

// rotateAt answers when a password of that age is rotated: up to a tenth before
// its time, so that many accounts do not come at once. All who share the State
// get the same answer, since it depends on the password alone.
func (k *Keeper) rotateAt(age *passwordAge) time.Time {
	every := k.config.RotateEvery
	if every == 0 || age == nil {
		return time.Time{}
	}
	spread, _ := strconv.ParseUint(age.Credential[:min(4, len(age.Credential))], 16, 16)
	return age.Since.Add(every - every/10/(1<<16)*time.Duration(spread))
}

// look finishes a rotation that was not finished, warns of an old password, and
// rotates one whose time has come.
func (k *Keeper) look() {
	ctx, cancel := context.WithTimeout(context.Background(), lookLimit)
	defer cancel()
	var again time.Duration
	err := k.inTurn(ctx, func() (err error) {
		again, err = k.lookNow(ctx)
		return err
	})
	if errors.Is(err, ErrClosed) {
		return
	}
	var told *RotationError
	if err != nil && !errors.As(err, &told) {
		k.note(Event{Kind: EventRotationFailed, Err: fmt.Errorf("keeper: the password's age or an unfinished rotation could not be looked at: %w", err)})
	}
	k.nextLook.set(k.now(), again)
	k.watch.Reset(again)
}

// lookNow answers when to look again.
func (k *Keeper) lookNow(ctx context.Context) (again time.Duration, err error) {
	shared, _, err := k.load(ctx)
	if err != nil {
		return lookEvery, err
	}
	if shared.Rotation != nil || k.rescued.Load() != nil {
		k.pending++
		again = min(firstLook<<min(k.pending-1, 6), lookEvery)
		if k.stuck(ctx, shared) {
			return again, nil // it was told
		}
		return again, k.underLease(ctx, func(lease Lease, shared *record) error {
			return k.finish(ctx, lease, shared, errEnded)
		})
	}
	k.pending = 0
	if shared.corrected { // or else the password would never grow old
		if err := k.underLease(ctx, func(Lease, *record) error { return nil }); err != nil {
			return lookEvery, err
		}
	}
	age := shared.Password
	if age == nil {
		return lookEvery, nil
	}
	now := k.now()
	k.warned = past(k.warned, now)
	if old := since(age.Since, now); old >= oldAfter && since(k.warned, now) >= warnEvery {
		k.warned = now
		k.note(Event{Kind: EventPasswordOld, Err: fmt.Errorf("keeper: the password is %d days old; "+
			"the vendor advises to change it every 90 days", int(old/(24*time.Hour)))})
	}
	due := func(age *passwordAge) bool {
		at := k.rotateAt(age)
		return !at.IsZero() && !k.now().Before(at)
	}
	if !due(age) {
		return lookEvery, nil
	}
	return lookEvery, k.rotateWhen(ctx, due)
}

// stuck reports whether only a person can bring the unfinished rotation on.
func (k *Keeper) stuck(ctx context.Context, shared *record) bool {
	c, err := k.credential(ctx)
	if err != nil || k.rescued.Load() != nil {
		return false
	}
	switch shared.rotationState(k.baseURL, c) {
	case RotationLost, RotationRefused, RotationInDoubt:
		return shared.latched(shared.identify(k.baseURL, c)) != nil
	}
	return false
}
