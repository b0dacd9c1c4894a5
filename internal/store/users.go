package store

import (
	"context"
	"crypto/sha256"
	"strings"

	"github.com/latchkey/latchkey/internal/authority"
)

const userColumns = `name, password_hash, password_version, password_changed_at, disabled, created_at,
	pending_end_version, pending_end_keep, pending_end_reason,
	reset_key, reset_session, reset_replaced, reset_sealed, reset_until, allow`

// setMutable sets every column of userColumns but the name, in their order.
const setMutable = `password_hash = ?, password_version = ?, password_changed_at = ?, disabled = ?, created_at = ?,
	pending_end_version = ?, pending_end_keep = ?, pending_end_reason = ?,
	reset_key = ?, reset_session = ?, reset_replaced = ?, reset_sealed = ?, reset_until = ?, allow = ?`

// mutableValues returns the values of setMutable.
func mutableValues(user authority.User) []any {
	end, reset := &user.PendingEnd, &user.LastReset
	return []any{
		user.PasswordHash, user.PasswordVersion, Micros(user.PasswordChangedAt),
		boolToInt(user.Disabled), Micros(user.CreatedAt),
		end.Version, end.Keep[:], string(end.Reason),
		reset.Key[:], reset.Session[:], reset.Replaced, reset.Sealed, Micros(reset.Until), user.Allow,
	}
}

func scanUser(r Row) (authority.User, error) {
	var (
		user                              authority.User
		changed, created, until, disabled int64
		keep, resetKey, resetSession      []byte
	)
	end, reset := &user.PendingEnd, &user.LastReset
	err := r.Scan(&user.Name, &user.PasswordHash, &user.PasswordVersion, &changed, &disabled, &created,
		&end.Version, &keep, &end.Reason, &resetKey, &resetSession, &reset.Replaced, &reset.Sealed, &until, &user.Allow)
	user.PasswordChangedAt, user.CreatedAt, reset.Until = Moment(changed), Moment(created), Moment(until)
	user.Disabled = disabled != 0
	copy(end.Keep[:], keep)
	copy(reset.Key[:], resetKey)
	copy(reset.Session[:], resetSession)
	return user, err
}

// CreateUser implements authority.UserStore.
func (db *Tables) CreateUser(ctx context.Context, user authority.User) error {
	key := authority.StrikeKey(sha256.Sum256([]byte(user.Name)))
	return db.engine.Write(ctx, func(t Tx) error {
		var generation int64
		if err := t.Query(func(r Row) error { return r.Scan(&generation) },
			`UPDATE user_generations SET value = value + 1 WHERE id = 1 RETURNING value`); err != nil {
			return err
		}
		values := append([]any{user.Name}, mutableValues(user.WithGeneration(generation))...)
		n, err := t.Exec(`INSERT INTO users (`+userColumns+`, name_key, strike_key)
			VALUES (?`+strings.Repeat(`, ?`, len(values)+1)+`)
			ON CONFLICT DO NOTHING`, append(values, []byte(user.Name), key[:])...)
		if err := RequireChange(n, err, authority.ErrExists); err != nil {
			return err
		}
		return resetStrikes(t, key)
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
func (db *Tables) UpdateUser(
	ctx context.Context, name string, change func(*authority.User) error) (authority.User, error,
) {
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
		_, err = t.Exec(`UPDATE users SET `+setMutable+` WHERE name = ?`, append(mutableValues(user), name)...)
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
		n, err := t.Exec(`DELETE FROM users WHERE name = ? AND disabled = 1 AND pending_end_version = 0`, name)
		if err != nil || n > 0 {
			return err
		}
		there := false
		err = t.Query(func(Row) error { there = true; return nil }, `SELECT name FROM users WHERE name = ?`, name)
		if err != nil {
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
		FROM users WHERE length(password_hash) > ?) AS hashes GROUP BY params`,
		authority.SaltAndSumBytes, authority.SaltAndSumBytes)
	return counts, err
}

// Users implements authority.UserStore.
func (db *Tables) Users(ctx context.Context, query authority.UserQuery) ([]authority.User, error) {
	where, arguments := "", []any{[]byte(query.After)}
	if query.PendingEnd {
		where += " AND pending_end_version > 0"
	}
	if !query.ResetExpired.IsZero() {
		where += " AND reset_until > 0 AND reset_until <= ?"
		arguments = append(arguments, Micros(query.ResetExpired))
	}
	if !query.ChangedAfter.IsZero() {
		where += " AND reset_until > 0 AND password_changed_at > ?"
		arguments = append(arguments, Micros(query.ChangedAfter))
	}
	var users []authority.User
	err := db.engine.Query(ctx, func(r Row) error {
		user, err := scanUser(r)
		users = append(users, user)
		return err
	}, `SELECT `+userColumns+` FROM users WHERE name_key > ?`+where+` ORDER BY name_key LIMIT ?`,
		append(arguments, limitOr100(query.Limit))...)
	return users, err
}
