package store

import (
	"context"
	"crypto/sha256"

	"github.com/latchkey/latchkey/internal/authority"
)

const userColumns = `name, password_hash, password_version, password_changed_at, disabled, created_at, ending, ending_version, ending_keep, ending_reason, repeat_key, repeat_session, repeat_replaced, repeat_sealed, repeat_until, allow`

func scanUser(r Row) (authority.User, error) {
	var (
		user             authority.User
		changed, created int64
		until            int64
		disabled, ending int64
		keep, repeat, by []byte
	)
	err := r.Scan(&user.Name, &user.PasswordHash, &user.PasswordVersion, &changed, &disabled, &created,
		&ending, &user.Ending.Version, &keep, &user.Ending.Reason, &repeat, &by, &user.Repeat.Replaced, &user.Repeat.Sealed, &until, &user.Allow)
	user.PasswordChangedAt, user.CreatedAt = Moment(changed), Moment(created)
	user.Repeat.Until = Moment(until)
	user.Disabled, user.Ending.Pending = disabled != 0, ending != 0
	if !user.Ending.Pending {
		user.Ending.Version = 0 // a program of the version before leaves it as it was
	}
	copy(user.Ending.Keep[:], keep)
	copy(user.Repeat.Key[:], repeat)
	copy(user.Repeat.Session[:], by)
	return user, err
}

// CreateUser implements authority.UserStore.
func (db *Tables) CreateUser(ctx context.Context, user authority.User) error {
	key := authority.StrikeKey(sha256.Sum256([]byte(user.Name)))
	return db.engine.Write(ctx, func(t Tx) error {
		var incarnation int64
		if err := t.Query(func(r Row) error { return r.Scan(&incarnation) },
			`UPDATE incarnations SET value = value + 1 WHERE id = 1 RETURNING value`); err != nil {
			return err
		}
		n, err := t.Exec(`INSERT INTO users (`+userColumns+`, name_key, strike_key) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
			user.Name, user.PasswordHash, user.WithIncarnation(incarnation).PasswordVersion, Micros(user.PasswordChangedAt), boolToInt(user.Disabled),
			Micros(user.CreatedAt), boolToInt(user.Ending.Pending), user.Ending.Version, user.Ending.Keep[:], string(user.Ending.Reason),
			user.Repeat.Key[:], user.Repeat.Session[:], user.Repeat.Replaced, user.Repeat.Sealed, Micros(user.Repeat.Until),
			user.Allow, []byte(user.Name), key[:])
		if err := RequireChange(n, err, authority.ErrExists); err != nil {
			return err
		}
		return forgetStrikes(t, key)
	})
}

const selectUser = `SELECT ` + userColumns + ` FROM users WHERE name = ?`

// User implements authority.UserStore.
func (db *Tables) User(ctx context.Context, name string) (authority.User, error) {
	user, found := authority.User{}, false
	err := db.engine.Query(ctx, func(r Row) (err error) {
		user, err = scanUser(r)
		found = true
		return err
	}, selectUser, name)
	if err == nil && !found {
		err = authority.ErrNotFound
	}
	return user, err
}

// UpdateUser implements authority.UserStore.
func (db *Tables) UpdateUser(ctx context.Context, name string, change func(*authority.User) error) (authority.User, error) {
	var user authority.User
	err := db.engine.Write(ctx, func(t Tx) error {
		found := false
		err := t.QueryLocked(func(r Row) (err error) {
			user, err = scanUser(r)
			found = true
			return err
		}, selectUser, name)
		if err != nil {
			return err
		}
		if !found {
			return authority.ErrNotFound
		}
		if err := change(&user); err != nil {
			return err
		}
		_, err = t.Exec(`UPDATE users SET password_hash = ?, password_version = ?, password_changed_at = ?, disabled = ?,
			ending = ?, ending_version = ?, ending_keep = ?, ending_reason = ?, repeat_key = ?, repeat_session = ?, repeat_replaced = ?, repeat_sealed = ?, repeat_until = ?, allow = ? WHERE name = ?`,
			user.PasswordHash, user.PasswordVersion, Micros(user.PasswordChangedAt), boolToInt(user.Disabled),
			boolToInt(user.Ending.Pending), user.Ending.Version, user.Ending.Keep[:], string(user.Ending.Reason),
			user.Repeat.Key[:], user.Repeat.Session[:], user.Repeat.Replaced, user.Repeat.Sealed, Micros(user.Repeat.Until), user.Allow, name)
		return err
	})
	if err != nil {
		return authority.User{}, err
	}
	return user, nil
}

// RemoveUser implements authority.UserStore.
func (db *Tables) RemoveUser(ctx context.Context, name string) error {
	return db.engine.Write(ctx, func(t Tx) error {
		n, err := t.Exec(`DELETE FROM users WHERE name = ? AND disabled = 1 AND ending = 0`, name)
		if err != nil || n > 0 {
			return err
		}
		there := false
		if err := t.Query(func(Row) error { there = true; return nil }, `SELECT name FROM users WHERE name = ?`, name); err != nil {
			return err
		}
		if there {
			return authority.ErrUserInUse
		}
		return authority.ErrNotFound
	})
}

// HashCounts implements authority.UserStore.
func (db *Tables) HashCounts(ctx context.Context) (map[string]int, error) {
	counts := map[string]int{}
	err := db.engine.Query(ctx, func(r Row) error {
		var params string
		var n int
		err := r.Scan(&params, &n)
		counts[params] += n
		return err
	}, `SELECT params, count(*) FROM (SELECT substr(password_hash, 1, length(password_hash) - ?) AS params
		FROM users WHERE length(password_hash) > ?) AS hashes GROUP BY params`, authority.SaltAndSumBytes, authority.SaltAndSumBytes)
	return counts, err
}

// Users implements authority.UserStore.
func (db *Tables) Users(ctx context.Context, query authority.UserQuery) ([]authority.User, error) {
	where, arguments := "", []any{[]byte(query.After)}
	if query.Ending {
		where += " AND ending = 1"
	}
	if !query.RepeatBefore.IsZero() {
		where += " AND repeat_until > 0 AND repeat_until <= ?"
		arguments = append(arguments, Micros(query.RepeatBefore))
	}
	if !query.ChangedAfter.IsZero() {
		where += " AND repeat_until > 0 AND password_changed_at > ?"
		arguments = append(arguments, Micros(query.ChangedAfter))
	}
	var users []authority.User
	err := db.engine.Query(ctx, func(r Row) error {
		user, err := scanUser(r)
		users = append(users, user)
		return err
	}, `SELECT `+userColumns+` FROM users WHERE name_key > ?`+where+` ORDER BY name_key LIMIT ?`, append(arguments, limitOr100(query.Limit))...)
	return users, err
}
