package keeper

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/keeper/internal/ledger"
)

const (
	resetLimit = time.Minute      // of a reset
	storeLimit = 30 * time.Second // of one use of the credential store
)

var (
	errEnded = errors.New("the program that began it has ended")
	// errOldHolds ends a rotation whose reset got no response.
	errOldHolds     = errors.New("there was no response to the reset, and a login has shown that it was not executed")
	errNoStore      = errors.New("the credential store cannot be written: Config.Rotation is not set")
	errOtherAccount = errors.New("keeper: a rotation of another user's password, or at another upstream, is not finished")
)

// Rotate makes the upstream generate a new password, and saves it in the credential store.
// If several Keepers that share the State rotate at the same time, one of them does, and all
// of them return when it is done. An unfinished rotation is finished first, and is then the
// one that was asked for.
//
// The order of the steps keeps the password. Before the reset is sent, the store has shown
// that it can be written, and the State holds the intent. The raw response is in the State
// before it is parsed. The password is in the store before a login proves it, and only then
// does the State forget it. Once the intent is recorded, cancellation of ctx is ignored.
// Config.OnEvent receives each step (EventRotating).
//
// If the login that proves the password is refused, another one is made ten seconds later,
// because not all parts of the upstream may know the password at once. Cancellation of ctx
// ends that wait, and the next login proves the password. If both are refused, they have
// cost two strikes.
//
// Errors are *[RotationError], which says which password is in effect, and those of Tokens,
// if nothing was begun.
func (k *Keeper) Rotate(ctx context.Context) error {
	// The password that is recorded now shows whether another Keeper was faster. Times would
	// not, because the clocks of hosts differ.
	before, err := k.load(ctx)
	if err != nil {
		return err
	}
	return k.exclusively(ctx, func() error {
		return k.rotateIf(ctx, func(age *ledger.Password) bool {
			return age == nil || !age.Made || age.Same(before.Password)
		})
	})
}

// ResumeRotation finishes an unfinished rotation, if there is one, at the cost of at most one
// failed login. A Keeper also does so automatically within a minute, and before its next
// login. Errors are those of Rotate.
func (k *Keeper) ResumeRotation(ctx context.Context) error {
	return k.exclusively(ctx, func() error {
		return k.withLease(ctx, func(h *leased) error { return h.finish(ctx, errEnded) })
	})
}

// exclusively calls do under the rotation mutex, unless the Keeper is closed. If do
// leaves a new password unproven because it was refused once, it is proven again.
func (k *Keeper) exclusively(ctx context.Context, do func() error) error {
	select {
	case k.rotation <- struct{}{}:
		defer func() { <-k.rotation }()
	case <-k.closing:
		return ErrClosed
	case <-ctx.Done():
		return fmt.Errorf("keeper: gave up waiting for a rotation under way: %w", context.Cause(ctx))
	}
	select {
	case <-k.closing:
		return ErrClosed
	default:
		return k.proveAgain(ctx, do())
	}
}

// rotateIf rotates the password if due returns true for its age. A reset that is
// refused for its session was not executed, and is sent again in another session.
func (k *Keeper) rotateIf(ctx context.Context, due func(*ledger.Password) bool) error {
	if err := k.canRotate(); err != nil {
		return err
	}
	for attempt := 1; ; attempt++ {
		k.step(StepSession)
		s, err := k.sessions.get(ctx)
		if err != nil {
			return err
		}
		err = k.withLease(ctx, func(h *leased) error { return h.rotate(ctx, due) })
		expired := errors.Is(err, latchkey.ErrSessionExpired) || errors.Is(err, latchkey.ErrSessionTokenInvalid)
		if !expired || attempt == 2 {
			return err
		}
		k.Invalidate(s.token) // the session API itself said so
	}
}

// withLease calls do with the record under the lease.
func (k *Keeper) withLease(ctx context.Context, do func(*leased) error) error {
	waiting, cancel := context.WithTimeout(ctx, renewLimit)
	defer cancel()
	lease, err := k.config.State.Acquire(waiting)
	if err != nil {
		return stateError("acquire", err)
	}
	h, err := k.open(ctx, lease)
	if err != nil {
		return err
	}
	defer h.release(ctx)
	return do(h)
}

// canRotate returns what a rotation lacks.
func (k *Keeper) canRotate() error {
	switch {
	case k.config.Rotation == nil:
		return &hintedError{
			text: "keeper: the password cannot be rotated: Config.Rotation is not set",
			hint: "Set it, with a credential.Store for the new password.",
		}
	case !k.config.State.Durable():
		return &hintedError{
			text: "keeper: the password cannot be rotated: the state is lost when the program ends",
			hint: "Use a FileState, or a state in a database, which keep the new password until it is stored.",
		}
	}
	return nil
}

func (h *leased) rotate(ctx context.Context, due func(*ledger.Password) bool) error {
	if h.record.Rotation != nil {
		return h.finish(ctx, errEnded)
	}
	if err := h.readCredential(ctx); err != nil {
		return err
	}
	if !due(h.rules.PasswordOf(h.record, forLedger(*h.credential))) {
		return nil
	}
	begun := h.now()
	_, err := h.reach(ctx, ledger.Rotate)
	if err != nil && !h.resetSent {
		return h.rotationFailed(RotationNone, begun, err)
	}
	return h.finished(begun, h.resetErr, err)
}

// finish finishes the recorded rotation. cause is why that is necessary.
func (h *leased) finish(ctx context.Context, cause error) error {
	if h.record.Rotation == nil {
		return nil
	}
	begun := h.record.Rotation.Begun
	_, err := h.reach(ctx, ledger.Finish)
	return h.finished(begun, cause, err)
}

// finished returns how the rotation that was begun then stands, after err.
func (h *leased) finished(begun time.Time, cause, err error) error {
	pending := h.record.Rotation
	switch {
	case errors.Is(err, errOtherAccount):
		return err
	case pending != nil:
		if err == nil && h.storeErr == nil {
			err = errNoStore
		}
		return h.rotationFailed(stateOf(pending.Phase), begun, errors.Join(cause, h.storeErr, err))
	case h.ending == ledger.OldHolds:
		return &RotationError{State: RotationNone, Since: begun, Err: errors.Join(errOldHolds, cause)}
	}
	return nil
}

// proveAgain proves a new password again that was refused once, when the pause after
// a strike is over; err is the error of the first proof. It does not hold the lease
// during the pause, so that others can use the session. If the wait is interrupted,
// the next login proves the password.
func (k *Keeper) proveAgain(ctx context.Context, err error) error {
	var rotation *RotationError
	if !errors.As(err, &rotation) || rotation.State != RotationUnproven ||
		!errors.Is(err, latchkey.ErrInvalidCredentials) ||
		k.foreign { // by another clock, time may stand still
		return err
	}
	timer := time.NewTimer(k.rules.StrikePause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return err
	case <-k.closing:
		return err
	}
	ctx = context.WithoutCancel(ctx)
	return k.withLease(ctx, func(h *leased) error { return h.finish(ctx, nil) })
}

// put saves the user name and the password in the credential store, and reads them
// back.
func (h *leased) put(ctx context.Context, next ledger.Credential) error {
	ctx, cancel := context.WithTimeout(ctx, storeLimit)
	defer cancel()
	c := *h.credential
	c.Password = latchkey.Secret(next.Password)
	h.credential = nil // what the store holds now has to be loaded
	store := h.config.Rotation.Store
	version, err := store.Save(ctx, c)
	if err != nil {
		return err
	}
	found, err := store.Load(ctx)
	switch {
	case err != nil:
		return fmt.Errorf("load what the store has saved: %w", err)
	case found.User != c.User || !found.Password.Equal(c.Password) || found.Version != version || version == c.Version:
		return errors.New("the store reported success, and then returned another credential: it is not reliable, " +
			"or another program writes to it at the same time")
	}
	h.credential = &found
	return nil
}

// resetPassword sends the reset, once. It returns an error if the reset had no
// effect. Otherwise the response is in the State, or in memory, or resetErr is set.
func (h *leased) resetPassword(ctx context.Context, action ledger.Action) (ledger.Outcome, error) {
	h.step(StepReset)
	ctx, cancel := context.WithTimeout(ctx, resetLimit)
	defer cancel()
	received := false
	old := latchkey.Secret(action.Credential.Password)
	keep := func(response latchkey.Secret) {
		received = true
		kept := &keptResponse{rotation: h.record.KeepResponse(response.Reveal())}
		h.kept.Store(kept)
		h.step(StepResponse)
		kept.saved.Store(h.saveChanges(ctx))
	}
	_, err := h.config.Rotation.Upstream.ResetPassword(ctx, latchkey.Secret(action.Token), old,
		latchkey.ResetOptions{OnResponse: keep})
	h.credential = nil // it may have been changed in the meantime
	switch {
	case received:
		err = nil // the response is read next
	case changedNothing(err):
		out := ledger.Outcome{Verdict: ledger.Unsent, Reason: err.Error()}
		if errors.Is(err, latchkey.ErrPasswordMismatch) {
			out.Verdict = ledger.Rejected
		}
		return out, err
	}
	h.resetSent, h.resetErr = true, err
	return ledger.Outcome{Verdict: ledger.Unclear}, nil
}

// changedNothing reports whether a reset that failed certainly had no effect.
func changedNothing(err error) bool {
	var refused *latchkey.ConnectivityManagementResultError
	if errors.As(err, &refused) {
		return refused.StatusCode < 500 && !errors.Is(err, latchkey.ErrUnexpected)
	}
	return verdictOf(err) == ledger.Unsent
}

// keptResponse is a rotation with the response to its reset, in memory, in case the
// State does not take it.
type keptResponse struct {
	rotation ledger.Rotation
	saved    atomic.Bool // the State has taken it
}

// recall puts the response that is in memory into the record, if it is not there.
func (h *leased) recall(ctx context.Context, kept *keptResponse) {
	recalled, obsolete := h.rules.Recall(h.record, kept.rotation, func() (ledger.Credential, error) {
		c, err := h.loadCredential(ctx)
		return forLedger(c), err
	})
	if obsolete {
		h.kept.Store(nil)
	}
	if recalled {
		kept.saved.Store(h.saveChanges(ctx))
	}
}

// ended notes how a rotation has ended.
func (h *leased) ended(ending ledger.Ending, begun time.Time) {
	h.ending = ending
	h.kept.Store(nil)
	switch ending {
	case ledger.Rotated:
		h.note(Event{Kind: EventRotated})
	case ledger.OldHolds:
		h.note(Event{Kind: EventRotationFailed, Err: &RotationError{State: RotationNone, Since: begun, Err: errOldHolds}})
	}
}

// begun returns when the rotation on record was begun.
func (h *leased) begun() time.Time {
	if h.record.Rotation == nil {
		return time.Time{}
	}
	return h.record.Rotation.Begun
}

// stepOf notes which step of a rotation action is.
func (h *leased) stepOf(action ledger.Action, goal ledger.Goal) {
	switch action.Do {
	case ledger.LogIn:
		switch {
		case action.Probe:
			h.step(StepProbe)
		case action.Proves:
			h.step(StepProveNew)
		case goal == ledger.Rotate:
			h.step(StepProveOld)
		}
	case ledger.CheckStore:
		h.step(StepCheckStore)
	case ledger.ResetPassword:
		h.step(StepRecord)
	case ledger.StorePassword:
		h.step(StepStore)
	}
}

// step notes the beginning of a step.
func (k *Keeper) step(step Step) { k.note(Event{Kind: EventRotating, Step: step}) }

// rotationFailed notes a rotation that is not finished.
func (k *Keeper) rotationFailed(state RotationState, begun time.Time, cause error) error {
	err := &RotationError{State: state, Since: begun, Err: cause}
	if kept := k.kept.Load(); kept != nil && kept.rotation.Begun.Equal(begun) {
		err.inMemory = !kept.saved.Load()
	}
	if state != RotationNone {
		k.watch.Reset(firstLook)
	}
	k.note(Event{Kind: EventRotationFailed, Err: err})
	return err
}
