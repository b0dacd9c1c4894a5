package postgres

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/store"
)

// An end sends a notification, and PostgreSQL commits one transaction with notifications at
// a time. So the ends that wait are made together.

// ending is a session that is to be ended.
type ending struct {
	key authority.SessionKey
	end authority.End
}

// ended is the session as it was, if this call has ended it.
type ended struct {
	session authority.Session
	ok      bool
	err     error
}

// EndSession implements authority.SessionStore. It returns when the end is committed;
// the other replicas refuse the session authority.MaxStaleness later at the latest.
func (db *DB) EndSession(ctx context.Context, key authority.SessionKey, end authority.End) (authority.Session, error) {
	got, err := db.ends.do(ctx, ending{key, end})
	db.cache.forget(key) // after an error as well: the session may have ended
	switch {
	case err != nil:
		return authority.Session{}, err
	case got.err != nil:
		return authority.Session{}, got.err
	case !got.ok:
		return authority.Session{}, authority.ErrNotFound
	}
	return got.session, nil
}

// endSessions ends many sessions at once. If the database refuses that, it ends each one
// separately, so that one cannot keep another from ending.
func (db *DB) endSessions(ctx context.Context, ends []ending) ([]ended, error) {
	all, err := db.endTogether(ctx, ends)
	if len(ends) == 1 || !errors.As(err, new(*pgconn.PgError)) {
		return all, err
	}
	for i := range ends {
		got, err := db.endTogether(ctx, ends[i:i+1])
		all[i] = got[0]
		all[i].err = err
	}
	return all, nil
}

func (db *DB) endTogether(ctx context.Context, ends []ending) ([]ended, error) {
	first := make(map[authority.SessionKey]int, len(ends)) // of several ends of a session one succeeds
	var keys [][]byte
	var at []int64
	var reasons, by []string
	for i, e := range ends {
		if _, twice := first[e.key]; twice {
			continue
		}
		first[e.key] = i
		keys, at = append(keys, ends[i].key[:]), append(at, store.Micros(e.end.At))
		reasons, by = append(reasons, string(e.end.Reason)), append(by, e.end.By)
	}
	all := make([]ended, len(ends))
	// Rows are always locked in the same order, as in writeLastUses.
	err := db.engine.Query(ctx, func(r store.Row) error {
		session, err := store.ScanSession(r)
		if err != nil {
			return err
		}
		session.End = authority.End{}
		all[first[session.Key]] = ended{session: alive(session), ok: true}
		return nil
	}, `WITH due AS
			(SELECT session_key FROM sessions WHERE session_key = ANY(?) AND ended_at = 0 ORDER BY session_key FOR UPDATE)
		UPDATE sessions SET ended_at = new.at, ended_reason = new.reason, ended_by = new.who
		FROM unnest(?::BYTEA[], ?::BIGINT[], ?::TEXT[], ?::TEXT[]) AS new (key, at, reason, who)
		WHERE session_key = new.key AND session_key IN (SELECT session_key FROM due) AND ended_at = 0
		RETURNING `+store.SessionColumns, keys, keys, at, reasons, by)
	return all, err
}

// EndUserSessions implements authority.SessionStore. As EndSession, it returns when the
// ends are committed.
func (db *DB) EndUserSessions(
	ctx context.Context, user string, version int64, keep authority.SessionKey, end authority.End) (int, error,
) {
	var keys []authority.SessionKey
	err := db.engine.Write(ctx, func(t store.Tx) error {
		keys = nil
		err := t.QueryLocked(func(r store.Row) error {
			var key []byte
			err := r.Scan(&key)
			keys = append(keys, authority.SessionKey(key))
			return err
		}, `SELECT session_key FROM sessions
			WHERE user_name = ? AND ended_at = 0 AND password_version < ? AND session_key <> ? ORDER BY session_key`,
			user, version, keep[:])
		if err != nil {
			return err
		}
		return endAll(t, keys, end)
	})
	for _, key := range keys {
		db.cache.forget(key)
	}
	if err != nil {
		return 0, err
	}
	return len(keys), nil
}

// endAll ends sessions that are locked.
func endAll(t store.Tx, keys []authority.SessionKey, end authority.End) error {
	if len(keys) == 0 {
		return nil
	}
	list := make([][]byte, len(keys))
	for i := range keys {
		list[i] = keys[i][:]
	}
	_, err := t.Exec(`UPDATE sessions SET ended_at = ?, ended_reason = ?, ended_by = ?
		WHERE session_key = ANY(?) AND ended_at = 0`,
		store.Micros(end.At), string(end.Reason), end.By, list)
	return err
}
