package keeper

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/credential"
)

const (
	// resetLimit bounds the reset, whoever has left meanwhile; latchkey.Client is
	// done after 30 s, unless configured otherwise.
	resetLimit = time.Minute
	// storeLimit bounds one use of the credential store.
	storeLimit = 30 * time.Second
)

// The steps of a rotation, as EventRotating tells them.
const (
	stepSession  = "make sure that there is a session"
	stepOld      = "prove the old password by a login"
	stepWritable = "prove that the store can be written"
	stepIntent   = "record what is about to happen"
	stepReset    = "send the reset, once"
	stepAnswer   = "keep the answer"
	stepStore    = "store the new password"
	stepNew      = "prove the new password by a login"
	stepProbe    = "find out by one login whether the old password holds"
)

// PasswordResetter is an Upstream that can reset the password, as
// *latchkey.Client can. It sends the reset once, whatever happens, and calls
// received with the raw answer of one that succeeded before it looks into it.
type PasswordResetter interface {
	ResetPassword(ctx context.Context, session, oldPassword latchkey.Secret, received func(answer latchkey.Secret)) (latchkey.Secret, error)
}

var _ PasswordResetter = (*latchkey.Client)(nil)

// Rotate has the upstream make a new password, and puts it into the credential
// store, which must be a credential.Store that can be written. Of several that
// share the State and rotate at the same time, one does, and all of them answer
// when it is done. A rotation that was not finished is finished first, and then
// is the one that was asked for.
//
// The order is what keeps the password: the store is proven to be writable, and
// the State to take the intent, before the one reset is sent; its raw answer is
// in the State before anything looks into it; the password is in the store before
// a login proves it; and only then the State forgets it. From the intent on the
// end of ctx ends nothing. Config.OnEvent is told of each step (EventRotating).
//
// If that login is refused, another one is made ten seconds later, because not all
// parts of the upstream may know the password at once. The end of ctx ends that wait;
// the next login proves the password then. Both refused cost two strikes.
//
// Errors are *[RotationError], which says what holds and what to do, and those of
// Tokens; then nothing was begun.
func (k *Keeper) Rotate(ctx context.Context) error {
	// What was there when it was asked for tells whether somebody was faster. Times
	// would not: they may be those of hosts whose clocks differ.
	before, _, err := k.load(ctx)
	if err != nil {
		return err
	}
	return k.inTurn(ctx, func() error {
		return k.rotateWhen(ctx, func(age *passwordAge) bool {
			return age == nil || !age.Made || age.same(before.Password)
		})
	})
}

// ResumeRotation finishes a rotation that was not finished, if there is one, at
// the price of one failed login at most. A Keeper does so by itself within a
// minute, and before its next login; call it to learn at once. Errors are those
// of Rotate.
func (k *Keeper) ResumeRotation(ctx context.Context) error {
	return k.inTurn(ctx, func() error {
		return k.underLease(ctx, func(lease Lease, shared *record) error {
			return k.finish(ctx, lease, shared, errEnded)
		})
	})
}

// inTurn does one thing at a time, until the Keeper is closed. A rotation whose new
// password is not known everywhere yet it brings to its end.
func (k *Keeper) inTurn(ctx context.Context, do func() error) error {
	select {
	case k.turn <- struct{}{}:
		defer func() { <-k.turn }()
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

// rotateWhen rotates if due says so. A reset that is refused for its session was
// not carried out; it is tried once more with another session.
func (k *Keeper) rotateWhen(ctx context.Context, due func(*passwordAge) bool) error {
	store, reset, err := k.canRotate()
	if err != nil {
		return err
	}
	for attempt := 1; ; attempt++ {
		k.step(stepSession)
		s, err := k.sessions.get(ctx)
		if err != nil {
			return err
		}
		err = k.underLease(ctx, func(lease Lease, shared *record) error {
			if shared.Rotation != nil {
				return k.finish(ctx, lease, shared, errEnded)
			}
			r := &rotating{Keeper: k, store: store, reset: reset, lease: lease, shared: shared, due: due}
			return r.run(ctx)
		})
		expired := errors.Is(err, latchkey.ErrSessionExpired) || errors.Is(err, latchkey.ErrSessionTokenInvalid)
		if !expired || attempt == 2 {
			return err
		}
		k.Invalidate(s.token) // the session API itself said so
	}
}

// canRotate answers the parts that a rotation needs, or what is missing.
func (k *Keeper) canRotate() (credential.Store, PasswordResetter, error) {
	store, ok := k.config.Credential.(credential.Store)
	if !ok {
		return nil, nil, errors.New("keeper: the password cannot be rotated, because there is no place for the new one: " +
			"Config.Credential must be a credential.Store")
	}
	reset, ok := k.config.Upstream.(PasswordResetter)
	if !ok {
		return nil, nil, errors.New("keeper: the password cannot be rotated: Config.Upstream is no PasswordResetter")
	}
	if _, ok := k.config.State.(*MemoryState); ok {
		return nil, nil, errors.New("keeper: the password cannot be rotated with a MemoryState, " +
			"which would lose it if the program ended on the way: use a FileState")
	}
	return store, reset, nil
}

// rotating is a rotation under its lease.
type rotating struct {
	*Keeper
	store  credential.Store
	reset  PasswordResetter
	lease  Lease
	shared *record
	due    func(*passwordAge) bool
}

func (r *rotating) run(ctx context.Context) error {
	c, err := r.credential(ctx)
	if err != nil {
		return err
	}
	id := r.shared.identify(r.baseURL, c)
	if !r.due(r.shared.age(id.account)) {
		return nil
	}
	begun := r.now()
	if c, err = r.prepare(ctx, c, id); err != nil {
		return r.rotationFailed(RotationNone, begun, err)
	}
	r.step(stepIntent)
	r.shared.Rotation = &rotation{Account: id.account, Begun: begun, Old: id.credential, OldPassword: c.Password.Reveal()}
	if err := r.lease.Save(ctx, r.shared.encode()); err != nil {
		return r.rotationFailed(RotationNone, begun, fmt.Errorf("it could not be recorded: %w", err))
	}
	// From here on nobody's leaving ends anything.
	ctx = context.WithoutCancel(ctx)
	r.step(stepReset)
	err = r.send(ctx, c.Password)
	if err != nil && changedNothing(err) {
		if errors.Is(err, latchkey.ErrPasswordMismatch) { // which the upstream counts as a failed login
			r.shared.settle(id, refusal, err, r.now())
		}
		r.shared.Rotation = nil
		r.save(ctx, r.lease, r.shared)
		return r.rotationFailed(RotationNone, begun, err)
	}
	return r.finish(ctx, r.lease, r.shared, err)
}

// prepare makes sure that the credential is accepted, and that the store can
// take another. It answers the credential as it is in the store then.
func (r *rotating) prepare(ctx context.Context, c credential.Credential, id identity) (credential.Credential, error) {
	s, age, account := r.shared.Session, r.shared.age(id.account), r.shared.account(id.account)
	proven := age != nil && age.Credential == id.credential && account.Strikes == 0 && r.shared.Attempt == nil
	if !proven || s == nil || s.Account != id.account || s.Upstream != r.shared.fingerprint(r.baseURL) {
		r.step(stepOld)
		s, err := r.logIn(ctx, r.lease, r.shared, r.sessions.current.Load(), c)
		if err != nil {
			return c, err
		}
		r.install(s)
	}
	r.step(stepWritable)
	return put(ctx, r.store, c)
}

// send resets the password. Its raw answer is in the State when send returns, or
// else in memory; the error says why there is none.
func (r *rotating) send(ctx context.Context, old latchkey.Secret) error {
	ctx, cancel := context.WithTimeout(ctx, resetLimit)
	defer cancel()
	pending := r.shared.Rotation
	_, err := r.reset.ResetPassword(ctx, r.shared.Session.secret(), old, func(answer latchkey.Secret) {
		pending.Answer = answer.Reveal()
		kept := &rescue{rotation: *pending}
		r.rescued.Store(kept)
		r.step(stepAnswer)
		kept.saved.Store(r.save(ctx, r.lease, r.shared))
	})
	if pending.Answer != "" {
		return nil // finish finds out what it says
	}
	return err
}

// changedNothing reports whether a reset that failed certainly had no effect.
func changedNothing(err error) bool {
	var refused *latchkey.ConnectivityManagementResultError
	if errors.As(err, &refused) {
		return refused.StatusCode < 500 && !errors.Is(err, latchkey.ErrUnexpected)
	}
	return judge(err) == unsent
}

// rescue is a rotation with the answer to its reset, in memory, should the State not
// take it.
type rescue struct {
	rotation

	saved atomic.Bool // the State has taken it
}

// recall puts the answer that is in memory back on record, if the State has not taken
// it, or another keeper has taken over and found that the old password was still in
// effect. It does not if the store holds another password than the old one by now.
func (k *Keeper) recall(ctx context.Context, lease Lease, shared *record) {
	kept, pending := k.rescued.Load(), shared.Rotation
	switch {
	case kept == nil:
		return
	case pending == nil:
		c, err := k.credential(ctx)
		if err != nil {
			return
		}
		if shared.identify(k.baseURL, c) != (identity{kept.Account, kept.Old}) {
			k.rescued.Store(nil)
			return
		}
		again := kept.rotation
		shared.Rotation = &again
	case pending.Begun.Equal(kept.Begun) && pending.Answer == "":
		pending.Answer = kept.Answer
	default:
		return
	}
	kept.saved.Store(k.save(ctx, lease, shared))
}

// step tells what begins.
func (k *Keeper) step(text string) { k.note(Event{Kind: EventRotating, Step: text}) }

// rotationFailed tells of a rotation that is not finished.
func (k *Keeper) rotationFailed(state RotationState, begun time.Time, cause error) error {
	err := &RotationError{State: state, Since: begun, Err: cause}
	if kept := k.rescued.Load(); kept != nil && kept.Begun.Equal(begun) {
		err.inMemory = !kept.saved.Load()
	}
	if state != RotationNone {
		k.watch.Reset(firstLook)
	}
	k.note(Event{Kind: EventRotationFailed, Err: err})
	return err
}
