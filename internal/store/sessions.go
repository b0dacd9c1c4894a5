package store

import (
	"context"
	"encoding/hex"
	"time"

	"github.com/latchkey/latchkey/internal/authority"
)

// SessionColumns are the columns that ScanSession scans.
const SessionColumns = `session_key, user_name, password_version, api_key, address,
	created_at, last_used, expires_at, ended_at, ended_reason, ended_by`

// ScanSession returns the session of a row that has other columns before SessionColumns.
func ScanSession(r Row, before ...any) (authority.Session, error) {
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
	session.CreatedAt, session.LastUsedAt, session.ExpiresAt = Moment(created), Moment(used), Moment(expires)
	session.End.At = Moment(ended)
	return session, err
}

// ListSessions is authority.SessionLog.Sessions with the last uses of the table.
func (db *Tables) ListSessions(ctx context.Context, query authority.SessionQuery) ([]authority.Session, error) {
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
		arguments = append(arguments, Micros(query.Before.CreatedAt), query.Before.Key[:])
	}
	var sessions []authority.Session
	err := db.engine.Query(ctx, func(r Row) error {
		session, err := ScanSession(r)
		sessions = append(sessions, session)
		return err
	}, `SELECT `+SessionColumns+` FROM sessions WHERE `+where+` ORDER BY created_at DESC, session_key DESC LIMIT ?`,
		append(arguments, limitOr100(query.Limit))...)
	return sessions, err
}

// PullBack replaces times in the future, written by a clock that was ahead, by now. A session
// keeps what is left of its absolute lifetime.
func PullBack(t Tx, now time.Time) error {
	us, future := Micros(now), Micros(now.Add(authority.ClockSlack))
	_, err := t.Exec(`UPDATE sessions
		SET expires_at = CASE WHEN expires_at > 0 THEN expires_at - (created_at - ?) ELSE 0 END, created_at = ?
		WHERE ended_at = 0 AND created_at > ?`, us, us, future)
	if err != nil {
		return err
	}
	_, err = t.Exec(`UPDATE sessions SET ended_at = ? WHERE ended_at > 0 AND ended_at > ?`, us, future)
	return err
}
