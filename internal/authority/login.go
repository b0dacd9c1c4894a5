package authority

import (
	"context"
	"errors"
	"fmt"

	"github.com/latchkey/latchkey/internal/secret"
)

// LogIn starts a session and returns its token. It returns *InvalidError for input that no
// account can have, ErrInvalidCredentials (a strike), ErrAccountLocked, ErrOverloaded, or an
// error that wraps ErrUnavailable. After the last two, nothing was counted.
func (a *Authority) LogIn(ctx context.Context, name string, password secret.Text, origin Origin) (SessionToken, error) {
	if err := errors.Join(checkName("username", name), checkPassword("password", password)); err != nil {
		return SessionToken{}, err
	}
	caller := ctx
	if a.policy.StrikeOnAbort {
		ctx = context.WithoutCancel(ctx) // an attempt that has begun is judged
	}
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	t, err := a.begin(ctx, origin.Client, name)
	if err != nil {
		if errors.Is(err, ErrAccountLocked) {
			a.recordRefusal(ctx, name, origin)
		}
		return SessionToken{}, err
	}
	right, err := t.verify(ctx, password, nil)
	if err != nil {
		_, _ = t.settle(ctx, abandoned)
		return SessionToken{}, err
	}
	if a.policy.StrikeOnAbort && caller.Err() != nil {
		if err := t.fail(ctx, origin); err != nil {
			return SessionToken{}, err
		}
		return SessionToken{}, unavailable(caller.Err())
	}
	if !right {
		if err := t.fail(ctx, origin); err != nil {
			return SessionToken{}, err
		}
		return SessionToken{}, ErrInvalidCredentials
	}
	if t.user.Disabled {
		if _, err := t.settle(ctx, abandoned); err != nil {
			return SessionToken{}, err
		}
		a.refuse(ctx, origin, Event{Kind: EventLogInFailed, User: name, Detail: "the user is disabled"})
		return SessionToken{}, ErrInvalidCredentials
	}
	return a.openSession(ctx, t, origin)
}

// openSession creates the session of a right password and settles the attempt.
//
// It creates the session first and then reads the user again. A change of the password
// raises the version first and then ends sessions. So if a login and a reset are concurrent,
// either the reset finds the session or the login finds the new version, even if sessions and
// users are in different stores.
func (a *Authority) openSession(ctx context.Context, t *attempt, origin Origin) (SessionToken, error) {
	token, now := newSessionToken(), a.now()
	session := Session{
		Key:             token.Key(),
		User:            t.user.Name,
		PasswordVersion: t.user.PasswordVersion,
		Client:          origin.Client,
		Address:         origin.Address,
		CreatedAt:       now,
		LastUsedAt:      now,
	}
	if a.policy.Lifetime > 0 {
		session.ExpiresAt = now.Add(a.policy.Lifetime)
	}
	if a.policy.EndSessionsOnLogin {
		a.sole.Lock() // else two logins could each end the other's session
		defer a.sole.Unlock()
	}
	if err := a.stores.Sessions.CreateSession(ctx, session); err != nil {
		a.discard(ctx, session)
		_, _ = t.settle(ctx, abandoned)
		return SessionToken{}, unavailable(err)
	}
	user, err := a.stores.Users.User(ctx, t.user.Name)
	if err != nil && !errors.Is(err, ErrNotFound) {
		a.discard(ctx, session)
		_, _ = t.settle(ctx, abandoned)
		return SessionToken{}, unavailable(err)
	}
	if err != nil || user.Disabled || user.PasswordVersion != t.user.PasswordVersion {
		a.discard(ctx, session)
		if err := t.fail(ctx, origin); err != nil {
			return SessionToken{}, err
		}
		return SessionToken{}, ErrInvalidCredentials
	}
	if _, err := t.settle(ctx, succeeded); err != nil {
		a.discard(ctx, session)
		return SessionToken{}, err
	}
	if a.policy.EndSessionsOnLogin {
		if err := a.endOthers(ctx, session, origin); err != nil {
			a.discard(ctx, session)
			return SessionToken{}, err
		}
	}
	a.record(ctx, origin, Event{Kind: EventLogIn, User: user.Name, SessionID: session.Key.ID()})
	if t.rehash != "" {
		a.storeRehash(ctx, t)
	}
	return token, nil
}

// endOthers ends every other session of the session's user.
func (a *Authority) endOthers(ctx context.Context, session Session, origin Origin) error {
	end := End{At: a.now(), Reason: ReasonLogIn, By: session.User}
	n, err := a.stores.Sessions.EndUserSessions(ctx, session.User, session.PasswordVersion+1, session.Key, end)
	if err != nil {
		return unavailable(err)
	}
	if n > 0 {
		detail := fmt.Sprintf("%d, by a later login", n)
		a.record(ctx, origin, Event{Kind: EventSessionEnded, User: session.User, Detail: detail})
	}
	return nil
}

// discard ends a session whose token was not returned.
func (a *Authority) discard(ctx context.Context, session Session) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	end := End{At: a.now(), Reason: ReasonDiscarded, By: session.User}
	if _, err := a.stores.Sessions.EndSession(ctx, session.Key, end); err != nil && !errors.Is(err, ErrNotFound) {
		a.log.Warn("a session whose token was not returned could not be ended; it will expire",
			"session", session.Key.ID(), "user", session.User, "error", err)
	}
}

// storeRehash stores the password under the current hash parameters.
func (a *Authority) storeRehash(ctx context.Context, t *attempt) {
	_, err := a.stores.Users.UpdateUser(ctx, t.user.Name, func(user *User) error {
		if user.PasswordHash == t.user.PasswordHash {
			user.PasswordHash = t.rehash
		}
		return nil
	})
	if err != nil {
		a.log.Warn("a password could not be rehashed; the next login tries again", "user", t.user.Name, "error", err)
	}
}

// recordRefusal records a login to a locked account, with the name only if a user has it.
func (a *Authority) recordRefusal(ctx context.Context, name string, origin Origin) {
	event := Event{Kind: EventLogInRefused, User: name, Detail: "locked"}
	if _, err := a.stores.Users.User(ctx, name); err != nil {
		event.User, event.Detail = "", "locked, unknown user name"
	}
	a.refuse(ctx, origin, event)
}
