package authority

import (
	"context"
	"errors"
	"fmt"

	"github.com/latchkey/latchkey/internal/secret"
)

// errChanged stops an update if the password is no longer the one that was verified.
var errChanged = errors.New("authority: the password was changed concurrently")

// ResetPassword gives the session's user a new random password and returns it. It ends the
// user's other sessions, unless the policy keeps them.
//
// Transports repeat a reset unasked, so a lost response does no harm: for two minutes, and
// unless the password is changed again, the same session with the same old password gets the
// same result. With an idempotency key, so does every session of the user for 24 hours; ""
// is no key. The same key with another valid password is ErrIdempotencyKeyReused, and changes
// nothing.
//
// It returns *InvalidError, ErrSessionExpired, ErrPasswordMismatch, which is a
// strike unless the session sent the same wrong password before,
// ErrPasswordReplaced, which is an ErrPasswordMismatch, ErrIdempotencyKeyReused,
// ErrAccountLocked, ErrOverloaded, or an error that wraps ErrUnavailable.
func (a *Authority) ResetPassword(
	ctx context.Context, token SessionToken, old secret.Text, key string, origin Origin,
) (secret.Text, error) {
	session, err := a.Check(ctx, token)
	if err != nil {
		return "", err
	}
	if err := checkPassword("oldPassword", old); err != nil {
		return "", err
	}
	if err := checkIdempotencyKey(key); err != nil {
		return "", err
	}
	note := func(kind EventKind, detail string) {
		a.record(ctx, origin, Event{Kind: kind, User: session.User, SessionID: session.Key.ID(), Detail: detail})
	}
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	t, err := a.begin(ctx, origin.Client, session.User)
	if err != nil {
		if errors.Is(err, ErrAccountLocked) {
			a.refuse(ctx, origin, Event{
				Kind: EventResetFailed, User: session.User, SessionID: session.Key.ID(), Detail: "locked",
			})
		}
		return "", err
	}
	if !t.known || !t.user.owns(session) {
		_, _ = t.settle(ctx, abandoned)
		return "", ErrSessionExpired // the user was removed, and the session ends at this moment
	}
	password, hash, repeat := generatePassword(), "", IdempotentReset{}
	told, mismatch := secret.Text(""), ErrPasswordMismatch
	right, err := t.verify(ctx, old, func(right bool) {
		if right {
			hash, repeat = a.hash(password), a.sealReset(t.user, session.Key, key, old, password)
			return
		}
		var replaced error
		if told, replaced = a.replay(t.user, session.Key, old, key); replaced != nil {
			mismatch = replaced
		}
	})
	if err != nil {
		_, _ = t.settle(ctx, abandoned)
		return "", err
	}
	if told != "" {
		// The result is not returned if the reservation was lost, because reservations
		// bound the guesses.
		if _, err := t.settle(ctx, abandoned); err != nil {
			return "", err
		}
		note(EventResetRepeated, "")
		return told, nil
	}
	if !right {
		strikes, counted, err := t.settleGuess(ctx, session.Key)
		if err != nil {
			return "", err
		}
		event := Event{Kind: EventResetFailed, SessionID: session.Key.ID()}
		if errors.Is(mismatch, ErrPasswordReplaced) {
			event.Detail = ", the password that was replaced a moment ago"
		}
		t.recordFailure(ctx, origin, event, strikes, counted)
		return "", mismatch
	}
	// The attempt is settled before the change, because nothing may fail between the change
	// and the return of the new password.
	if _, err := t.settle(ctx, succeeded); err != nil {
		return "", err
	}
	if t.user.LastReset.hasKey(key, a.now()) {
		note(EventResetFailed, "the idempotency key is that of another reset")
		return "", ErrIdempotencyKeyReused
	}
	user, err := a.changePassword(ctx, t.user, hash, session, repeat)
	if errors.Is(err, errChanged) {
		// Another reset was faster. It may be the same one.
		told, err := a.replayConcurrent(ctx, t, session, old, key)
		if err == nil {
			note(EventResetRepeated, "at the same time")
		} else if errors.Is(err, ErrPasswordMismatch) {
			note(EventResetFailed, "the password was replaced at the same time")
		}
		return told, err
	}
	if err != nil {
		return "", err
	}
	a.endPending(ctx, user)
	note(EventReset, "")
	return password, nil
}

// replayConcurrent is replay for an old password that was right when it was verified. It
// returns the new password or an error.
func (a *Authority) replayConcurrent(
	ctx context.Context, t *attempt, session Session, old secret.Text, key string,
) (secret.Text, error) {
	user, err := a.stores.Users.User(ctx, session.User)
	switch {
	case err != nil && !errors.Is(err, ErrNotFound):
		return "", unavailable(err)
	case err == nil && user.Disabled:
		return "", ErrPasswordMismatch
	case err != nil || !user.owns(session) || user.PasswordHash == t.user.PasswordHash:
		return "", ErrSessionExpired // the change has ended the session
	}
	told := secret.Text("")
	err = a.admission.hashAgain(ctx, t.client, func() { told, _ = a.replay(user, session.Key, old, key) })
	if err == nil && told == "" {
		err = ErrPasswordReplaced
	}
	return told, err
}

// changePassword writes the new hash if the user's password is still the one that was
// verified, or else returns errChanged. It requires the sessions to end that the policy does
// not keep.
func (a *Authority) changePassword(
	ctx context.Context, verified User, hash string, session Session, repeat IdempotentReset) (User, error,
) {
	if err := ctx.Err(); err != nil {
		return User{}, unavailable(err) // no caller would receive the new password
	}
	// From here on cancellation of ctx is ignored: whether an interrupted write happened
	// would be unknown.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	user, err := a.stores.Users.UpdateUser(ctx, verified.Name, func(user *User) error {
		// The hash is not compared: a login may have hashed the same password again.
		if user.PasswordVersion != verified.PasswordVersion || user.Disabled {
			return errChanged
		}
		user.setPassword(hash, a.now())
		if !a.policy.KeepSessionsOnReset {
			user.endSessions(&session, ReasonReset)
		}
		user.LastReset = repeat
		return nil
	})
	switch {
	case err == nil:
		return user, nil
	case errors.Is(err, errChanged) || errors.Is(err, ErrNotFound):
		return User{}, errChanged
	}
	// The store may have written it and failed afterwards.
	ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	user, again := a.stores.Users.User(ctx, verified.Name)
	if again == nil && user.PasswordHash == hash {
		return user, nil
	}
	if again != nil {
		return User{}, unavailable(fmt.Errorf("the password may or may not have changed: %w", err))
	}
	return User{}, unavailable(err)
}

// LogSessionsEndLater is the message that is logged, with the user, if sessions that a reset
// ends could not be ended with it.
const LogSessionsEndLater = "" +
	"sessions that a change of the password ends could not be ended yet; the next sweep tries again"

// endPending ends the sessions that the user's last change requires to end, and then
// clears the requirement. If it fails, the requirement stays, and Sweep fulfills it.
func (a *Authority) endPending(ctx context.Context, user User) {
	pending := user.PendingEnd
	if pending == (PendingEnd{}) {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	end := End{At: a.now(), Reason: pending.Reason, By: byOperator}
	if end.Reason == ReasonReset {
		end.By = user.Name
	}
	_, err := a.stores.Sessions.EndUserSessions(ctx, user.Name, pending.Version, pending.Keep, end)
	if err == nil {
		_, err = a.stores.Users.UpdateUser(ctx, user.Name, func(now *User) error {
			if now.PendingEnd == pending {
				now.PendingEnd = PendingEnd{}
			}
			return nil
		})
	}
	if err != nil && !errors.Is(err, ErrNotFound) {
		a.log.Error(LogSessionsEndLater, "user", user.Name, "error", err)
	}
}
