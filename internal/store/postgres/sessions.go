package postgres

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/store"
	"github.com/latchkey/latchkey/internal/store/sessionindex"
)

// The last use of a session is written when it is first used after a while, and ahead of time
// when it is used often. Then later uses need no write for some time, on any replica. So a
// session that is used rarely expires to the microsecond, and one that is used often up to
// DB.ahead late, never early.
//
// When a session was found expired, its last use is stored as a negative number: it stays
// expired until a sweep ends it, even for a replica whose clock is a little behind.

// found is a row of the table, if the session exists and has not ended.
type found struct {
	session authority.Session
	used    int64 // negative: expired
	ok      bool
}

// CreateSession implements authority.SessionStore.
func (db *DB) CreateSession(ctx context.Context, session authority.Session) error {
	n, err := db.engine.exec(ctx, `INSERT INTO sessions (`+store.SessionColumns+`)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0, '', '') ON CONFLICT DO NOTHING`,
		session.Key[:], session.User, session.PasswordVersion, session.Client, session.Address,
		store.Micros(session.CreatedAt), store.Micros(session.LastUsedAt), store.Micros(session.ExpiresAt))
	return store.RequireChange(n, err, authority.ErrExists)
}

// UseSession implements authority.SessionStore. Its result was true in the database at a
// moment between the call and the return, or if it is cached, at most authority.MaxStaleness
// before the call.
func (db *DB) UseSession(
	ctx context.Context, key authority.SessionKey, now time.Time, idle time.Duration) (authority.Session, error,
) {
	if session, ok := db.cache.use(key, now); ok {
		return session, nil
	}
	mark := db.cache.mark(key) // before the database is queried
	session, covered, err := db.useStored(ctx, key, now, idle)
	switch {
	case err == nil && covered.After(now):
		db.cache.keep(session, covered, mark)
	case errors.Is(err, authority.ErrNotFound):
		db.cache.forget(key)
	}
	return session, err
}

// errUnsettled is returned for a check whose session changed again and again.
var errUnsettled = errors.New("the session changes too fast")

// useStored uses a session in the database, and returns until when further uses need no write.
func (db *DB) useStored(
	ctx context.Context, key authority.SessionKey, now time.Time, idle time.Duration,
) (session authority.Session, covered time.Time, err error) {
	us := now.UnixMicro()
	for range maxTries {
		row, err := db.lookups.do(ctx, key)
		if err != nil {
			return session, covered, err
		}
		switch {
		case !row.ok || row.used < 0:
			return session, covered, authority.ErrNotFound
		case authority.Expired(store.Moment(row.used), row.session.ExpiresAt, now, idle):
			expired, err := db.markExpired(ctx, key, row.used)
			if err != nil {
				return session, covered, err
			}
			if expired {
				return session, covered, authority.ErrNotFound
			}
			continue // it was used just before
		case row.used-us > (db.ahead + authority.ClockSlack).Microseconds():
			// A clock was ahead. The cache of every replica is notified.
			n, err := db.engine.exec(ctx, `UPDATE sessions SET last_used = ?
				WHERE session_key = ? AND ended_at = 0 AND last_used = ?`, us, key[:], row.used)
			if err != nil {
				return session, covered, err
			}
			if n == 0 {
				continue
			}
			row.used = us
		case us > row.used:
			to := us
			if us-row.used < db.ahead.Microseconds() {
				to += db.ahead.Microseconds()
			}
			written, err := db.lastUses.do(ctx, sessionindex.LastUse{Key: key, At: to})
			if err != nil {
				return session, covered, err
			}
			if !written {
				continue // it has ended, or a later use was written
			}
			row.used = to
		}
		row.session.LastUsedAt = store.Moment(us)
		return row.session, store.Moment(row.used), nil
	}
	return session, covered, errUnsettled
}

// markExpired marks a session as expired, unless it was used after that last use.
func (db *DB) markExpired(ctx context.Context, key authority.SessionKey, used int64) (bool, error) {
	n, err := db.engine.exec(ctx, `UPDATE sessions SET last_used = -last_used
		WHERE session_key = ? AND ended_at = 0 AND last_used = ?`, key[:], used)
	return n > 0, err
}

// findSessions looks up many keys at once. It leaves Address empty.
func (db *DB) findSessions(ctx context.Context, keys []authority.SessionKey) ([]found, error) {
	list := make([][]byte, len(keys))
	first := make(map[authority.SessionKey]int, len(keys)) // the index of the result; a key may occur twice
	for i := range keys {
		list[i] = keys[i][:]
		if _, twice := first[keys[i]]; !twice {
			first[keys[i]] = i
		}
	}
	results := make([]found, len(keys))
	var (
		key                    []byte
		session                authority.Session
		created, used, expires int64
	)
	into := []any{&key, &session.User, &session.PasswordVersion, &session.Client, &created, &used, &expires}
	err := db.engine.Query(ctx, func(r store.Row) error {
		if err := r.Scan(into...); err != nil {
			return err
		}
		session.Key = authority.SessionKey(key)
		session.CreatedAt, session.ExpiresAt = store.Moment(created), store.Moment(expires)
		results[first[session.Key]] = found{session, used, true}
		return nil
	}, `SELECT session_key, user_name, password_version, api_key, created_at, last_used, expires_at
		FROM sessions WHERE session_key = ANY(?) AND ended_at = 0`, list)
	for i, key := range keys {
		results[i] = results[first[key]]
	}
	return results, err
}

// writeLastUses writes many last uses at once, and reports of each whether the session was
// live and its last use earlier.
func (db *DB) writeLastUses(ctx context.Context, slides []sessionindex.LastUse) ([]bool, error) {
	latest := make(map[authority.SessionKey]int64, len(slides))
	for _, s := range slides {
		latest[s.Key] = max(latest[s.Key], s.At)
	}
	keys, used := make([][]byte, 0, len(latest)), make([]int64, 0, len(latest))
	for key, at := range latest {
		keys, used = append(keys, key[:]), append(used, at)
	}
	written := make(map[authority.SessionKey]bool, len(latest))
	// Rows are always locked in the same order, so that there is no deadlock.
	err := db.engine.Query(ctx, func(r store.Row) error {
		var key []byte
		err := r.Scan(&key)
		written[authority.SessionKey(key)] = true
		return err
	}, `WITH due AS (SELECT session_key FROM sessions
			WHERE session_key = ANY(?) AND ended_at = 0 AND last_used >= 0 ORDER BY session_key FOR UPDATE)
		UPDATE sessions SET last_used = new.used FROM unnest(?::BYTEA[], ?::BIGINT[]) AS new (session_key, used)
		WHERE sessions.session_key = new.session_key AND sessions.session_key IN (SELECT session_key FROM due)
		AND sessions.ended_at = 0 AND sessions.last_used >= 0 AND sessions.last_used < new.used
		RETURNING sessions.session_key`, keys, keys, used)
	results := make([]bool, len(slides))
	for i, s := range slides {
		results[i] = written[s.Key]
	}
	return results, err
}

// alive returns a session with its last use as a positive number.
func alive(session authority.Session) authority.Session {
	if us := store.Micros(session.LastUsedAt); us < 0 {
		session.LastUsedAt = store.Moment(-us)
	}
	return session
}

// Sessions implements authority.SessionLog.
func (db *DB) Sessions(ctx context.Context, query authority.SessionQuery) ([]authority.Session, error) {
	sessions, err := db.ListSessions(ctx, query)
	for i := range sessions {
		sessions[i] = alive(sessions[i])
	}
	return sessions, err
}

// SweepSessions implements authority.SessionLog.
func (db *DB) SweepSessions(
	ctx context.Context, now time.Time, idle time.Duration, limit int) ([]authority.Session, error,
) {
	end := authority.End{At: now, Reason: authority.ReasonExpired}
	var swept []authority.Session
	err := db.engine.Write(ctx, func(t store.Tx) error {
		swept = nil
		if err := store.PullBack(t, now); err != nil {
			return err
		}
		_, err := t.Exec(`UPDATE sessions SET last_used = ? WHERE ended_at = 0 AND last_used > ?`,
			store.Micros(now), store.Micros(now.Add(db.ahead+authority.ClockSlack)))
		if err != nil {
			return err
		}
		for _, due := range []struct {
			where string
			until int64
		}{
			{`last_used <= ? ORDER BY last_used`, now.Add(-idle).UnixMicro()},
			{`expires_at > 0 AND expires_at <= ? ORDER BY expires_at`, now.UnixMicro()},
		} {
			// A row that another transaction has locked is being used or ended.
			err := t.Query(func(r store.Row) error {
				session, err := store.ScanSession(r)
				if session.End = end; !slices.ContainsFunc(swept, func(s authority.Session) bool { return s.Key == session.Key }) {
					swept = append(swept, alive(session))
				}
				return err
			}, `SELECT `+store.SessionColumns+` FROM sessions WHERE ended_at = 0 AND `+due.where+`
				LIMIT ? FOR UPDATE SKIP LOCKED`, due.until, limit-len(swept))
			if err != nil {
				return err
			}
		}
		keys := make([]authority.SessionKey, len(swept))
		for i, session := range swept {
			keys[i] = session.Key
		}
		return endAll(t, keys, end)
	})
	if err != nil {
		return nil, err
	}
	return swept, nil
}

// PurgeSessions implements authority.SessionLog.
func (db *DB) PurgeSessions(ctx context.Context, before time.Time, limit int) (int, error) {
	n, err := db.engine.exec(ctx, `DELETE FROM sessions WHERE session_key IN
		(SELECT session_key FROM sessions WHERE ended_at > 0 AND ended_at < ? ORDER BY ended_at LIMIT ?)`,
		store.Micros(before), limit)
	return int(n), err
}
