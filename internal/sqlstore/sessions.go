package sqlstore

import (
	"context"
	"encoding/hex"
	"time"

	"github.com/latchkey/latchkey/internal/authority"
)

const sessionColumns = `session_key, user_name, password_version, api_key, address, created_at, last_used, expires_at, ended_at, ended_reason, ended_by`

func scanSession(r row, before ...any) (authority.Session, error) {
	var (
		session                       authority.Session
		key                           []byte
		created, used, expires, ended int64
		reason                        string
	)
	err := r.Scan(append(before, &key, &session.User, &session.PasswordVersion, &session.Client, &session.Address,
		&created, &used, &expires, &ended, &reason, &session.End.By)...)
	copy(session.Key[:], key)
	session.End.Reason = authority.Reason(reason)
	session.CreatedAt, session.LastUsedAt, session.ExpiresAt = moment(created), moment(used), moment(expires)
	session.End.At = moment(ended)
	return session, err
}

// CreateSession implements authority.SessionStore.
func (db *DB) CreateSession(ctx context.Context, session authority.Session) error {
	used := micros(session.LastUsedAt)
	ahead := used + db.ahead.Microseconds()
	return db.writer.write(ctx, func(t tx) error {
		n, err := t.exec(`INSERT INTO sessions (`+sessionColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0, '', '') ON CONFLICT DO NOTHING`,
			session.Key[:], session.User, session.PasswordVersion, session.Client, session.Address,
			micros(session.CreatedAt), ahead, micros(session.ExpiresAt))
		return wanted(n, err, authority.ErrExists)
	}, func() {
		// The writer runs this before any later change, so it has not ended.
		for !db.sessions.fill(session, used, ahead, db.sessions.shard(session.Key).endings()) {
			continue
		}
		// It may have been read from the table just before, where its last use is ahead.
		db.sessions.created(session.Key, used)
	})
}

// UseSession implements authority.SessionStore. It leaves Address empty.
func (db *DB) UseSession(ctx context.Context, key authority.SessionKey, now time.Time, idle time.Duration) (authority.Session, error) {
	for {
		complete := db.sessions.isComplete() // before looking, or a load could finish in between
		session, live, known, covered := db.sessions.use(key, now.UnixMicro(), idle.Microseconds())
		switch {
		case live:
			if !covered {
				db.keepUse(key, now)
			}
			return session, nil
		case known || complete:
			return authority.Session{}, authority.ErrNotFound
		}
		if err := db.readThrough(ctx, key); err != nil {
			return authority.Session{}, err
		}
	}
}

// readThrough brings one live session into the index, or answers ErrNotFound.
func (db *DB) readThrough(ctx context.Context, key authority.SessionKey) error {
	for {
		ends := db.sessions.shard(key).endings()
		session, found := authority.Session{}, false
		err := db.query(ctx, func(r row) (err error) {
			session, err = scanSession(r)
			found = true
			return err
		}, `SELECT `+sessionColumns+` FROM sessions WHERE session_key = ? AND ended_at = 0`, key[:])
		if err != nil {
			return err
		}
		if !found {
			return authority.ErrNotFound
		}
		used := micros(session.LastUsedAt)
		if db.sessions.fill(session, used, used, ends) {
			return nil
		}
	}
}

// loadBatch sessions are read at a time; after a failure, loadRetry passes.
const (
	loadBatch = 5000
	loadRetry = time.Second
)

// loadSessions brings all live sessions into the index.
func (db *DB) loadSessions(ctx context.Context) {
	for number := int64(0); ; {
		next, err := db.loadSome(ctx, number)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			db.log.Error("live sessions could not be read ahead; it is tried again soon, and until then each is read when it is used", "error", err)
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
			close(db.sessions.complete)
			return
		}
		number = next
	}
}

// loadSome reads a batch behind the given row number and answers the last one.
func (db *DB) loadSome(ctx context.Context, number int64) (int64, error) {
	var ends [len(db.sessions.shards)]uint64
	for i := range ends {
		ends[i] = db.sessions.shards[i].endings()
	}
	var again []authority.SessionKey
	err := db.query(ctx, func(r row) error {
		session, err := scanSession(r, &number)
		if err != nil {
			return err
		}
		used := micros(session.LastUsedAt)
		if !db.sessions.fill(session, used, used, ends[session.Key[0]]) {
			again = append(again, session.Key)
		}
		return nil
	}, `SELECT number, `+sessionColumns+` FROM sessions WHERE number > ? AND ended_at = 0 ORDER BY number LIMIT ?`, number, loadBatch)
	if err != nil {
		return number, err
	}
	for _, key := range again {
		if err := db.readThrough(ctx, key); err != nil && err != authority.ErrNotFound { //nolint:errorlint // readThrough returns it as it is
			return number, err
		}
	}
	return number, nil
}

// EndSession implements authority.SessionStore.
func (db *DB) EndSession(ctx context.Context, key authority.SessionKey, end authority.End) (authority.Session, error) {
	var session authority.Session
	err := db.writer.write(ctx, func(t tx) error {
		found := false
		err := t.query(func(r row) (err error) {
			session, err = scanSession(r)
			found = true
			return err
		}, `SELECT `+sessionColumns+` FROM sessions WHERE session_key = ? AND ended_at = 0`, key[:])
		if err != nil {
			return err
		}
		if !found {
			return authority.ErrNotFound
		}
		return markEnded(t, key, end)
	}, func() {
		if last, known := db.sessions.end(key); known {
			session.LastUsedAt = moment(last)
		}
	})
	if err != nil {
		return authority.Session{}, err
	}
	return session, nil
}

func markEnded(t tx, key authority.SessionKey, end authority.End) error {
	_, err := t.exec(`UPDATE sessions SET ended_at = ?, ended_reason = ?, ended_by = ? WHERE session_key = ? AND ended_at = 0`,
		micros(end.At), string(end.Reason), end.By, key[:])
	return err
}

// endBatchSize is how many sessions of a user end in one step, so that ending very many
// takes little memory and lets other changes pass.
const endBatchSize = 1000

// EndUserSessions implements authority.SessionStore.
func (db *DB) EndUserSessions(ctx context.Context, user string, version int64, keep authority.SessionKey, end authority.End) (int, error) {
	for total := 0; ; {
		n, err := db.endSomeOfUser(ctx, user, version, keep, end)
		if total += n; err != nil || n < endBatchSize {
			return total, err
		}
	}
}

func (db *DB) endSomeOfUser(ctx context.Context, user string, version int64, keep authority.SessionKey, end authority.End) (int, error) {
	var keys []authority.SessionKey
	err := db.writer.write(ctx, func(t tx) error {
		err := t.query(func(r row) error {
			var key []byte
			err := r.Scan(&key)
			keys = append(keys, authority.SessionKey(key))
			return err
		}, `SELECT session_key FROM sessions WHERE user_name = ? AND ended_at = 0 AND password_version < ? AND session_key <> ? LIMIT ?`,
			user, version, keep[:], endBatchSize)
		for _, key := range keys {
			if err == nil {
				err = markEnded(t, key, end)
			}
		}
		return err
	}, func() {
		for _, key := range keys {
			db.sessions.end(key)
		}
	})
	if err != nil {
		return 0, err
	}
	return len(keys), nil
}

// Sessions implements authority.SessionLog.
func (db *DB) Sessions(ctx context.Context, query authority.SessionQuery) ([]authority.Session, error) {
	sessions, err := db.listSessions(ctx, query)
	for i, session := range sessions {
		if last, known := db.sessions.lastUsed(session.Key); known && session.End.At.IsZero() {
			sessions[i].LastUsedAt = moment(last)
		}
	}
	return sessions, err
}

// listSessions is SessionLog.Sessions with the last uses as the table has them.
func (db *tables) listSessions(ctx context.Context, query authority.SessionQuery) ([]authority.Session, error) {
	where, arguments := `1 = 1`, []any{}
	if !query.Ended {
		where += ` AND ended_at = 0`
	}
	if query.User != "" {
		where += ` AND user_name = ?`
		arguments = append(arguments, query.User)
	}
	if query.ID != "" {
		if len(query.ID) != 16 {
			return nil, nil
		}
		low, err := hex.DecodeString(query.ID)
		if err != nil {
			return nil, nil //nolint:nilerr // no session has such an ID
		}
		high := append(append([]byte(nil), low...), 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
			0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)
		where += ` AND session_key BETWEEN ? AND ?`
		arguments = append(arguments, low, high)
	}
	if query.Before != nil {
		where += ` AND (created_at, session_key) < (?, ?)`
		arguments = append(arguments, micros(query.Before.CreatedAt), query.Before.Key[:])
	}
	var sessions []authority.Session
	err := db.query(ctx, func(r row) error {
		session, err := scanSession(r)
		sessions = append(sessions, session)
		return err
	}, `SELECT `+sessionColumns+` FROM sessions WHERE `+where+` ORDER BY created_at DESC, session_key DESC LIMIT ?`,
		append(arguments, limitOr100(query.Limit))...)
	return sessions, err
}

// SweepSessions implements authority.SessionLog. It waits until the index is
// complete.
func (db *DB) SweepSessions(ctx context.Context, now time.Time, idle time.Duration, limit int) ([]authority.Session, error) {
	select {
	case <-db.sessions.complete:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if err := db.write(ctx, func(t tx) error { return pullBack(t, now) }); err != nil {
		return nil, err
	}
	swept := db.sessions.takeExpired(now.UnixMicro(), idle.Microseconds(), limit)
	if len(swept) == 0 {
		return nil, nil
	}
	end := authority.End{At: now, Reason: authority.ReasonExpired}
	// They are out of the index already, so this has to happen: it does not end
	// with the caller's context.
	err := db.write(context.WithoutCancel(ctx), func(t tx) error {
		for i := range swept {
			swept[i].End = end
			if err := markEnded(t, swept[i].Key, end); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		for _, session := range swept { // expired all the same; the next sweep tries again
			s := db.sessions.shard(session.Key)
			db.sessions.fill(session, micros(session.LastUsedAt), micros(session.LastUsedAt), s.endings())
		}
		return nil, err
	}
	return swept, nil
}

// pullBack makes times of now of those that are in the future, because a clock was
// ahead. A session keeps what is left of its absolute lifetime.
func pullBack(t tx, now time.Time) error {
	us, future := micros(now), micros(now.Add(clockSlack))
	_, err := t.exec(`UPDATE sessions SET expires_at = CASE WHEN expires_at > 0 THEN expires_at - (created_at - ?) ELSE 0 END, created_at = ?
		WHERE ended_at = 0 AND created_at > ?`, us, us, future)
	if err != nil {
		return err
	}
	_, err = t.exec(`UPDATE sessions SET ended_at = ? WHERE ended_at > 0 AND ended_at > ?`, us, future)
	return err
}

// clockSlack is how far clocks may be apart that are right.
const clockSlack = 5 * time.Second

// PurgeSessions implements authority.SessionLog.
func (db *DB) PurgeSessions(ctx context.Context, before time.Time, limit int) (int, error) {
	var n int64
	err := db.write(ctx, func(t tx) (err error) {
		n, err = t.exec(`DELETE FROM sessions WHERE number IN (SELECT number FROM sessions WHERE ended_at > 0 AND ended_at < ? LIMIT ?)`,
			micros(before), limit)
		return err
	})
	if err != nil {
		return 0, err
	}
	return int(n), nil
}
