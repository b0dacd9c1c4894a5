package authority

import (
	"context"
	"errors"
	"time"

	"github.com/latchkey/latchkey/internal/secret"
)

// Account is a user with the consecutive failed logins.
type Account struct {
	User
	Strikes Strikes
}

// Accounts lists users by name, with their strikes.
func (a *Authority) Accounts(ctx context.Context, query UserQuery) ([]Account, error) {
	users, err := a.stores.Users.Users(ctx, query)
	if err != nil {
		return nil, unavailable(err)
	}
	accounts := make([]Account, len(users))
	for i, user := range users {
		if accounts[i], err = a.account(ctx, user); err != nil {
			return nil, err
		}
	}
	return accounts, nil
}

// Account returns one user, or ErrNotFound.
func (a *Authority) Account(ctx context.Context, name string) (Account, error) {
	user, err := a.stores.Users.User(ctx, name)
	if err != nil {
		return Account{}, adminError(err)
	}
	return a.account(ctx, user)
}

func (a *Authority) account(ctx context.Context, user User) (Account, error) {
	strikes, err := a.stores.Strikes.Strikes(ctx, strikeKey(user.Name))
	if err != nil {
		return Account{}, unavailable(err)
	}
	return Account{User: user, Strikes: a.lock.at(strikes, a.now())}, nil
}

// AddUser creates a user and returns the password, which it generates if the given one is
// empty. It returns *InvalidError or ErrExists. allow is as for SetAllow.
func (a *Authority) AddUser(
	ctx context.Context, name string, password secret.Text, origin Origin, allow ...string,
) (secret.Text, error) {
	return a.addUser(ctx, name, password, false, origin, allow)
}

// AddKnownUser creates a user whose password is public, for demonstrations and tests. It
// returns *InvalidError or ErrExists.
func (a *Authority) AddKnownUser(ctx context.Context, name string, password secret.Text, origin Origin) error {
	_, err := a.addUser(ctx, name, password, true, origin, nil)
	return err
}

func (a *Authority) addUser(
	ctx context.Context, name string, password secret.Text, known bool, origin Origin, allow []string,
) (secret.Text, error) {
	if err := checkName("user name", name); err != nil {
		return "", err
	}
	rules, err := checkAllow(allow)
	if err != nil {
		return "", err
	}
	password, hash, err := a.newPassword(ctx, name, password, known)
	if err != nil {
		return "", err
	}
	now := a.now()
	user := User{Name: name, PasswordHash: hash, PasswordVersion: 1, PasswordChangedAt: now, CreatedAt: now, Allow: rules}
	a.allow.forget(name) // another user may have had it
	if err := a.stores.Users.CreateUser(ctx, user); err != nil {
		return "", adminError(err)
	}
	a.record(ctx, origin, Event{Kind: EventUserAdded, User: name})
	return password, nil
}

// SetPassword changes a user's password, ends all of the user's sessions and returns the
// password, which it generates if the given one is empty. Strikes and locks stay:
// UnlockUser lifts them.
func (a *Authority) SetPassword(
	ctx context.Context, name string, password secret.Text, origin Origin) (secret.Text, error,
) {
	password, hash, err := a.newPassword(ctx, name, password, false)
	if err != nil {
		return "", err
	}
	err = a.changeUser(ctx, name, func(user *User) {
		user.setPassword(hash, a.now())
		user.endSessions(nil, ReasonAdmin)
	}, origin, EventPasswordSet)
	if err != nil {
		return "", err
	}
	return password, nil
}

// newPassword checks or generates a password of a user and hashes it. A known password may
// be weak.
func (a *Authority) newPassword(
	ctx context.Context, user string, password secret.Text, known bool) (secret.Text, string, error,
) {
	if password == "" {
		password = generatePassword()
	}
	if err := checkPassword("password", password); err != nil {
		return "", "", err
	}
	if a.policy.RefuseWeakPasswords && !known {
		if err := checkStrength(user, password); err != nil {
			return "", "", err
		}
	}
	hash := ""
	if err := a.admission.hashForOperator(ctx, func() { hash = a.hash(password) }); err != nil {
		return "", "", err
	}
	return password, hash, nil
}

// DisableUser ends the user's sessions and refuses logins, as if the password
// were wrong, until EnableUser.
func (a *Authority) DisableUser(ctx context.Context, name string, origin Origin) error {
	return a.changeUser(ctx, name, func(user *User) {
		user.Disabled = true
		user.PasswordVersion++
		user.endSessions(nil, ReasonAdmin)
	}, origin, EventUserDisabled)
}

// EnableUser reverses DisableUser. The sessions stay ended.
func (a *Authority) EnableUser(ctx context.Context, name string, origin Origin) error {
	return a.changeUser(ctx, name, func(user *User) { user.Disabled = false }, origin, EventUserEnabled)
}

// RemoveUser ends the user's sessions and removes the user.
func (a *Authority) RemoveUser(ctx context.Context, name string, origin Origin) error {
	if err := a.DisableUser(ctx, name, origin); err != nil {
		return err
	}
	err := a.stores.Users.RemoveUser(ctx, name)
	if errors.Is(err, ErrUserInUse) {
		return unavailable(errors.New(
			"the user is disabled, but sessions of the user could not be ended yet, or the user was enabled again"))
	}
	if err != nil {
		return adminError(err)
	}
	a.record(ctx, origin, Event{Kind: EventUserRemoved, User: name})
	return nil
}

func (a *Authority) changeUser(
	ctx context.Context, name string, change func(*User), origin Origin, kind EventKind,
) error {
	defer a.allow.forget(name)
	user, err := a.stores.Users.UpdateUser(ctx, name, func(user *User) error {
		change(user)
		return nil
	})
	if err != nil {
		return adminError(err)
	}
	a.endPending(ctx, user)
	a.record(ctx, origin, Event{Kind: kind, User: name})
	return nil
}

// LockUser refuses logins as after too many failures, until UnlockUser. Live sessions
// stay.
func (a *Authority) LockUser(ctx context.Context, name string, origin Origin) error {
	return a.setStrikes(ctx, name, a.policy.LockAfter, true, origin, EventLocked)
}

// UnlockUser lifts a lock and forgets the failures.
func (a *Authority) UnlockUser(ctx context.Context, name string, origin Origin) error {
	return a.setStrikes(ctx, name, 0, false, origin, EventUnlocked)
}

// SetFailures sets how many consecutive logins of a user failed. As many as lock an
// account lock it, as the last of them would have; fewer lift a lock. It is for tests of
// programs.
func (a *Authority) SetFailures(ctx context.Context, name string, failures int, origin Origin) error {
	before, err := a.Account(ctx, name)
	if err != nil {
		return err
	}
	kind := EventKind("")
	switch {
	case failures >= a.policy.LockAfter:
		kind = EventLocked
	case !before.Strikes.LockedAt.IsZero():
		kind = EventUnlocked
	}
	return a.setStrikes(ctx, name, failures, false, origin, kind)
}

func (a *Authority) setStrikes(
	ctx context.Context, name string, failures int, manual bool, origin Origin, kind EventKind,
) error {
	if _, err := a.stores.Users.User(ctx, name); err != nil {
		return adminError(err)
	}
	now := a.now()
	err := a.stores.Strikes.UpdateStrikes(ctx, strikeKey(name), func(s *Strikes) error {
		a.lock.set(s, failures, manual, now)
		return nil
	})
	if err != nil {
		return unavailable(err)
	}
	if kind != "" {
		a.record(ctx, origin, Event{Kind: kind, User: name, Detail: "by an operator"})
	}
	return nil
}

// Sessions lists sessions, newest first. Expired sessions that are not swept yet are left
// out unless the query includes ended ones. The page is filled up in their place, so that
// a short page is the last one.
func (a *Authority) Sessions(ctx context.Context, query SessionQuery) ([]Session, error) {
	setDefault(&query.Limit, 100)
	var live []Session
	for limit := query.Limit; ; query.Limit = limit - len(live) {
		sessions, err := a.stores.SessionLog.Sessions(ctx, query)
		if err != nil {
			return nil, unavailable(err)
		}
		if query.Ended {
			return sessions, nil
		}
		now := a.now()
		for _, session := range sessions {
			if !session.Expired(now, a.policy.IdleTimeout) {
				live = append(live, session)
			}
		}
		if len(sessions) < query.Limit || len(live) == limit {
			return live, nil
		}
		query.Before = &sessions[len(sessions)-1]
	}
}

// IdleAt returns when a session expires unless it is used.
func (a *Authority) IdleAt(session Session) time.Time {
	return session.LastUsedAt.Add(a.policy.IdleTimeout)
}

// EndSession ends the session with this public ID. It returns ErrNotFound if there is none.
func (a *Authority) EndSession(ctx context.Context, id string, origin Origin) error {
	if id == "" {
		return ErrNotFound // to a store, no ID means any session
	}
	found, err := a.stores.SessionLog.Sessions(ctx, SessionQuery{ID: id})
	if err != nil {
		return unavailable(err)
	}
	if len(found) == 0 {
		return ErrNotFound
	}
	session, err := a.stores.Sessions.EndSession(ctx, found[0].Key, End{At: a.now(), Reason: ReasonAdmin, By: byOperator})
	if err != nil {
		return adminError(err)
	}
	a.record(ctx, origin, Event{Kind: EventSessionEnded, User: session.User, SessionID: id})
	return nil
}

// EndUserSessions ends all sessions of a user and returns how many there were.
func (a *Authority) EndUserSessions(ctx context.Context, name string, origin Origin) (int, error) {
	user, err := a.stores.Users.User(ctx, name)
	if err != nil {
		return 0, adminError(err)
	}
	end := End{At: a.now(), Reason: ReasonAdmin, By: byOperator}
	n, err := a.stores.Sessions.EndUserSessions(ctx, name, user.PasswordVersion+1, SessionKey{}, end)
	if err != nil {
		return n, unavailable(err)
	}
	a.record(ctx, origin, Event{Kind: EventSessionEnded, User: name, Detail: "all sessions"})
	return n, nil
}

// byOperator is the End.By of sessions that an operator ended.
const byOperator = "operator"

// adminError returns ErrNotFound and ErrExists unchanged, and any other error of a store as
// ErrUnavailable.
func adminError(err error) error {
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrExists) {
		return err
	}
	return unavailable(err)
}
