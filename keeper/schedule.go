package keeper

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/latchkey/latchkey/keeper/internal/ledger"
)

const (
	// firstLook is how soon after New the password and the rotation are checked for the
	// first time, and lookEvery how often after that. While a rotation is not finished, the
	// interval begins at firstLook again and doubles each time.
	firstLook = time.Minute
	lookEvery = time.Hour
	// lookLimit bounds one check, and the rotation that it may lead to.
	lookLimit = 10 * time.Minute
	// oldAfter is the age at which a warning about the password is logged. The vendor
	// advises to change it every 90 days.
	oldAfter = 80 * 24 * time.Hour
	// warnEvery is how often the warning is repeated.
	warnEvery = 24 * time.Hour
	// minRotateEvery is the least Rotation.Every.
	minRotateEvery = time.Hour
)

// rotateAt returns when a password is rotated, or zero for never: up to a tenth before its
// time, so that many accounts are not rotated at once. The result depends on the password
// alone, so it is the same for all Keepers that share the State.
func (k *Keeper) rotateAt(age *ledger.Password) time.Time {
	if k.config.Rotation == nil || k.config.Rotation.Every == 0 || age == nil {
		return time.Time{}
	}
	every := k.config.Rotation.Every
	spread, _ := strconv.ParseUint(age.Credential[:min(4, len(age.Credential))], 16, 16)
	return age.Since.Add(every - every/10/(1<<16)*time.Duration(spread))
}

// look finishes an unfinished rotation, warns about an old password, and rotates a password
// whose time has come.
func (k *Keeper) look() {
	ctx, cancel := context.WithTimeout(context.Background(), lookLimit)
	defer cancel()
	var again time.Duration
	err := k.exclusively(ctx, func() (err error) {
		again, err = k.lookNow(ctx)
		return err
	})
	if errors.Is(err, ErrClosed) {
		return
	}
	var noted *RotationError
	if err != nil && !errors.As(err, &noted) {
		k.note(Event{Kind: EventRotationFailed, Err: fmt.Errorf("keeper: check the password and the rotation: %w", err)})
	}
	k.nextLook.set(k.now(), again)
	k.watch.Reset(again)
}

// lookNow does what look does, and returns when to look again.
func (k *Keeper) lookNow(ctx context.Context) (again time.Duration, err error) {
	record, err := k.load(ctx)
	if err != nil {
		return lookEvery, err
	}
	if record.Rotation != nil || k.kept.Load() != nil {
		k.pending++
		again = min(firstLook<<min(k.pending-1, 6), lookEvery)
		if k.stuck(ctx, record) {
			return again, nil // which was noted before
		}
		return again, k.withLease(ctx, func(h *leased) error { return h.finish(ctx, errEnded) })
	}
	k.pending = 0
	if record.NeedsSave() { // times were in the future, so the password would never grow old
		if err := k.withLease(ctx, func(*leased) error { return nil }); err != nil {
			return lookEvery, err
		}
	}
	age := record.Password
	if age == nil {
		return lookEvery, nil
	}
	now := k.now()
	k.warned = ledger.NotAfter(k.warned, now)
	if old := ledger.Since(age.Since, now); old >= oldAfter && ledger.Since(k.warned, now) >= warnEvery {
		k.warned = now
		k.note(Event{Kind: EventPasswordOld, Err: fmt.Errorf("keeper: the password is %d days old; "+
			"the vendor advises to change it every 90 days", int(old/(24*time.Hour)))})
	}
	due := func(age *ledger.Password) bool {
		at := k.rotateAt(age)
		return !at.IsZero() && !k.now().Before(at)
	}
	if !due(age) {
		return lookEvery, nil
	}
	return lookEvery, k.rotateIf(ctx, due)
}

// stuck reports whether only a person can make the unfinished rotation go on.
func (k *Keeper) stuck(ctx context.Context, record *ledger.Record) bool {
	c, err := k.loadCredential(ctx)
	return err == nil && k.kept.Load() == nil && k.rules.View(record, forLedger(c), k.now()).Stuck
}
