package sqlstore

import (
	"context"
	"slices"

	"github.com/latchkey/latchkey/internal/authority"
)

// AppendAudit implements authority.AuditStore.
func (db *DB) AppendAudit(ctx context.Context, events ...authority.Event) error {
	return db.write(ctx, func(t tx) error {
		for _, e := range events {
			if _, err := t.exec(`INSERT INTO audit (at, kind, user_name, session_id, api_key, address, request_id, detail)
				VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
				micros(e.At), e.Kind, e.User, e.SessionID, e.Client, e.Address, e.RequestID, e.Detail); err != nil {
				return err
			}
		}
		return nil
	})
}

// AuditEvents implements authority.AuditStore.
func (db *DB) AuditEvents(ctx context.Context, query authority.AuditQuery) ([]authority.Event, error) {
	where, arguments := `seq > ? AND at >= ?`, []any{query.After, micros(query.Since)}
	if query.User != "" {
		where += ` AND user_name = ?`
		arguments = append(arguments, query.User)
	}
	order := ` ORDER BY seq LIMIT ?`
	if query.Last {
		order = ` ORDER BY seq DESC LIMIT ?`
	}
	var events []authority.Event
	err := db.query(ctx, func(r row) error {
		var e authority.Event
		var at int64
		err := r.Scan(&e.Seq, &at, &e.Kind, &e.User, &e.SessionID, &e.Client, &e.Address, &e.RequestID, &e.Detail)
		e.At = moment(at)
		events = append(events, e)
		return err
	}, `SELECT seq, at, kind, user_name, session_id, api_key, address, request_id, detail FROM audit WHERE `+where+order,
		append(arguments, limitOr100(query.Limit))...)
	if query.Last {
		slices.Reverse(events)
	}
	return events, err
}
