package sqlite

import (
	"context"
	"time"

	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/store"
	"github.com/latchkey/latchkey/internal/store/sessionindex"
)

// CreateSession implements authority.SessionStore.
func (db *DB) CreateSession(ctx context.Context, session authority.Session) error {
	used := store.Micros(session.LastUsedAt)
	ahead := used + db.ahead.Microseconds()
	return db.writer.write(ctx, func(t store.Tx) error {
		n, err := t.Exec(`INSERT INTO sessions (`+store.SessionColumns+`)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0, '', '') ON CONFLICT DO NOTHING`,
			session.Key[:], session.User, session.PasswordVersion, session.Client, session.Address,
			store.Micros(session.CreatedAt), ahead, store.Micros(session.ExpiresAt))
		return store.RequireChange(n, err, authority.ErrExists)
	}, func() {
		// The writer runs this before any later change, so the session has not ended.
		for !db.sessions.Add(session, used, ahead, db.sessions.Removals(sessionindex.ShardOf(session.Key))) {
			continue
		}
		// The loader may have read it from the table just before, where its last use is ahead.
		db.sessions.SetLastUse(session.Key, used)
	})
}

// UseSession implements authority.SessionStore. It leaves Address empty.
func (db *DB) UseSession(
	ctx context.Context, key authority.SessionKey, now time.Time, idle time.Duration) (authority.Session, error,
) {
	for {
		loaded := db.isLoaded() // before the lookup, or a load could finish in between
		use := db.sessions.Use(key, now, idle)
		switch {
		case use.Live:
			if !use.Covered {
				db.keepUse(key, now)
			}
			return use.Session, nil
		case use.Known || loaded:
			return authority.Session{}, authority.ErrNotFound
		}
		if err := db.readThrough(ctx, key); err != nil {
			return authority.Session{}, err
		}
	}
}

// isLoaded reports whether a key that is not in the index names no live session.
func (db *DB) isLoaded() bool {
	select {
	case <-db.loaded:
		return true
	default:
		return false
	}
}

// readThrough reads one live session into the index, or returns ErrNotFound.
func (db *DB) readThrough(ctx context.Context, key authority.SessionKey) error {
	for {
		removals := db.sessions.Removals(sessionindex.ShardOf(key))
		session, found := authority.Session{}, false
		err := db.query(ctx, func(r store.Row) (err error) {
			session, err = store.ScanSession(r)
			found = true
			return err
		}, `SELECT `+store.SessionColumns+` FROM sessions WHERE session_key = ? AND ended_at = 0`, key[:])
		if err != nil {
			return err
		}
		if !found {
			return authority.ErrNotFound
		}
		used := store.Micros(session.LastUsedAt)
		if db.sessions.Add(session, used, used, removals) {
			return nil
		}
	}
}

// loadBatch sessions are read at a time; after a failure, loadRetry passes.
const (
	loadBatch = 5000
	loadRetry = time.Second
)

// loadSessions reads all live sessions into the index.
func (db *DB) loadSessions(ctx context.Context) {
	for number := int64(0); ; {
		next, err := db.loadSome(ctx, number)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			db.log.Error("live sessions could not be loaded; the next attempt is soon, "+
				"and until then each is read when it is used", "error", err)
			retry := time.NewTimer(loadRetry)
			select {
			case <-retry.C:
			case <-ctx.Done():
				retry.Stop()
				return
			}
			continue
		}
		if next == number {
			close(db.loaded)
			return
		}
		number = next
	}
}

// loadSome reads a batch of sessions after a row number and returns the last number.
func (db *DB) loadSome(ctx context.Context, number int64) (int64, error) {
	var removals [sessionindex.Shards]uint64
	for i := range removals {
		removals[i] = db.sessions.Removals(i)
	}
	var again []authority.SessionKey
	err := db.query(ctx, func(r store.Row) error {
		session, err := store.ScanSession(r, &number)
		if err != nil {
			return err
		}
		used := store.Micros(session.LastUsedAt)
		if !db.sessions.Add(session, used, used, removals[sessionindex.ShardOf(session.Key)]) {
			again = append(again, session.Key)
		}
		return nil
	}, `SELECT number, `+store.SessionColumns+` FROM sessions
		WHERE number > ? AND ended_at = 0 ORDER BY number LIMIT ?`, number, loadBatch)
	if err != nil {
		return number, err
	}
	for _, key := range again {
		err := db.readThrough(ctx, key)
		if err != nil && err != authority.ErrNotFound { //nolint:errorlint // readThrough returns it unwrapped
			return number, err
		}
	}
	return number, nil
}

// EndSession implements authority.SessionStore.
func (db *DB) EndSession(ctx context.Context, key authority.SessionKey, end authority.End) (authority.Session, error) {
	var session authority.Session
	err := db.writer.write(ctx, func(t store.Tx) error {
		found := false
		err := t.Query(func(r store.Row) (err error) {
			session, err = store.ScanSession(r)
			found = true
			return err
		}, `SELECT `+store.SessionColumns+` FROM sessions WHERE session_key = ? AND ended_at = 0`, key[:])
		if err != nil {
			return err
		}
		if !found {
			return authority.ErrNotFound
		}
		return markEnded(t, key, end)
	}, func() {
		if last, known := db.sessions.Remove(key); known {
			session.LastUsedAt = store.Moment(last)
		}
	})
	if err != nil {
		return authority.Session{}, err
	}
	return session, nil
}

func markEnded(t store.Tx, key authority.SessionKey, end authority.End) error {
	_, err := t.Exec(`UPDATE sessions SET ended_at = ?, ended_reason = ?, ended_by = ?
		WHERE session_key = ? AND ended_at = 0`,
		store.Micros(end.At), string(end.Reason), end.By, key[:])
	return err
}

// endBatchSize is how many sessions of a user end in one step, so that ending very many takes
// little memory and does not delay other changes for long.
const endBatchSize = 1000

// EndUserSessions implements authority.SessionStore.
func (db *DB) EndUserSessions(
	ctx context.Context, user string, version int64, keep authority.SessionKey, end authority.End) (int, error,
) {
	for total := 0; ; {
		n, err := db.endSomeOfUser(ctx, user, version, keep, end)
		if total += n; err != nil || n < endBatchSize {
			return total, err
		}
	}
}

func (db *DB) endSomeOfUser(
	ctx context.Context, user string, version int64, keep authority.SessionKey, end authority.End) (int, error,
) {
	var keys []authority.SessionKey
	err := db.writer.write(ctx, func(t store.Tx) error {
		err := t.Query(func(r store.Row) error {
			var key []byte
			err := r.Scan(&key)
			keys = append(keys, authority.SessionKey(key))
			return err
		}, `SELECT session_key FROM sessions
			WHERE user_name = ? AND ended_at = 0 AND password_version < ? AND session_key <> ? LIMIT ?`,
			user, version, keep[:], endBatchSize)
		for _, key := range keys {
			if err == nil {
				err = markEnded(t, key, end)
			}
		}
		return err
	}, func() {
		for _, key := range keys {
			db.sessions.Remove(key)
		}
	})
	if err != nil {
		return 0, err
	}
	return len(keys), nil
}

// Sessions implements authority.SessionLog.
func (db *DB) Sessions(ctx context.Context, query authority.SessionQuery) ([]authority.Session, error) {
	sessions, err := db.ListSessions(ctx, query)
	for i, session := range sessions {
		if last, known := db.sessions.LastUse(session.Key); known && session.End.At.IsZero() {
			sessions[i].LastUsedAt = store.Moment(last)
		}
	}
	return sessions, err
}

// SweepSessions implements authority.SessionLog. It waits until all sessions are loaded.
func (db *DB) SweepSessions(
	ctx context.Context, now time.Time, idle time.Duration, limit int) ([]authority.Session, error,
) {
	select {
	case <-db.loaded:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if err := db.write(ctx, func(t store.Tx) error { return store.PullBack(t, now) }); err != nil {
		return nil, err
	}
	swept := db.sessions.TakeExpired(now, idle, limit)
	if len(swept) == 0 {
		return nil, nil
	}
	end := authority.End{At: now, Reason: authority.ReasonExpired}
	// They were removed from the index, so cancellation of ctx is ignored.
	err := db.write(context.WithoutCancel(ctx), func(t store.Tx) error {
		for i := range swept {
			swept[i].End = end
			if err := markEnded(t, swept[i].Key, end); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		for _, session := range swept { // they are expired anyway; the next sweep tries again
			used := store.Micros(session.LastUsedAt)
			db.sessions.Add(session, used, used, db.sessions.Removals(sessionindex.ShardOf(session.Key)))
		}
		return nil, err
	}
	return swept, nil
}

// PurgeSessions implements authority.SessionLog.
func (db *DB) PurgeSessions(ctx context.Context, before time.Time, limit int) (int, error) {
	var n int64
	err := db.write(ctx, func(t store.Tx) (err error) {
		n, err = t.Exec(`DELETE FROM sessions WHERE number IN
			(SELECT number FROM sessions WHERE ended_at > 0 AND ended_at < ? LIMIT ?)`,
			store.Micros(before), limit)
		return err
	})
	if err != nil {
		return 0, err
	}
	return int(n), nil
}
