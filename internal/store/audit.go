package store

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/authority"
)

// AppendAudit implements authority.AuditStore.
func (db *Tables) AppendAudit(ctx context.Context, events ...authority.Event) error {
	return db.engine.Write(ctx, func(t Tx) error { return AppendEvents(t, events...) })
}

// LockAuditHead locks the end of the audit trail and returns it.
func LockAuditHead(t Tx) (seq int64, head authority.Chain, err error) {
	err = t.QueryLocked(func(r Row) error {
		var chain []byte
		err := r.Scan(&seq, &chain)
		copy(head[:], chain)
		return err
	}, `SELECT seq, chain FROM audit_head WHERE id = 1`)
	return seq, head, err
}

// AppendEvents adds events to the audit trail.
func AppendEvents(t Tx, events ...authority.Event) error {
	seq, head, err := LockAuditHead(t)
	if err != nil {
		return err
	}
	for len(events) > 0 {
		rows, query := events[:1], insertAudit(1)
		if len(events) >= auditRows {
			rows, query = events[:auditRows], insertManyAudit
		}
		arguments := make([]any, 0, len(rows)*auditColumns)
		for _, e := range rows {
			e = e.Valid()
			head = e.After(head)
			seq++
			arguments = append(arguments, seq, Micros(e.At), string(e.Kind),
				e.User, e.SessionID, e.Client, e.Address, e.RequestID, e.Detail,
				e.Method, e.Host, e.Path, int64(e.Status), e.Duration.Microseconds(), e.UpstreamID, int64(e.Count),
				bytes.Clone(head[:]))
		}
		if _, err := t.Exec(query, arguments...); err != nil {
			return err
		}
		events = events[len(rows):]
	}
	_, err = t.Exec(`UPDATE audit_head SET seq = ?, chain = ? WHERE id = 1`, seq, head[:])
	return err
}

// Many events are written by few statements, because each costs as much as several rows.
const (
	auditFields = `seq, at, kind, user_name, session_id, api_key, address, request_id, detail, ` +
		`method, host, path, status, duration_us, upstream_id, event_count, chain`
	auditColumns = 17
	auditRows    = 50
)

var insertManyAudit = insertAudit(auditRows)

func insertAudit(rows int) string {
	row := `(` + strings.Repeat(`?, `, auditColumns-1) + `?)`
	return `INSERT INTO audit (` + auditFields + `) VALUES ` + strings.Repeat(row+`, `, rows-1) + row
}

// TrimAudit implements authority.AuditStore.
func (db *Tables) TrimAudit(
	ctx context.Context, before, now time.Time, limit int, note authority.TrimNote) (removed int, err error,
) {
	err = db.engine.Write(ctx, func(t Tx) error {
		if _, _, err := LockAuditHead(t); err != nil {
			return err
		}
		removed = 0
		var last int64
		var chain authority.Chain
		passed, ended := 0, false
		for after, more := int64(0), true; more && !ended && removed == 0; {
			more = false
			err := t.Query(func(r Row) error {
				var at int64
				var kept []byte
				if err := r.Scan(&after, &at, &kept); err != nil {
					return err
				}
				more = true
				switch passed++; {
				case ended || at > Micros(now): // an event in the future is as old as the next one
				case at >= Micros(before):
					ended = true
				default:
					removed, last, chain = passed, after, authority.Chain{}
					copy(chain[:], kept)
				}
				return nil
			}, `SELECT seq, at, chain FROM audit WHERE seq > ? ORDER BY seq LIMIT ?`, after, limit)
			if err != nil {
				return err
			}
		}
		if removed == 0 {
			return nil
		}
		// The note is added first, so that there is always an event to chain it to.
		if err := AppendEvents(t, note(removed, last, chain)); err != nil {
			return err
		}
		_, err = t.Exec(`DELETE FROM audit WHERE seq <= ?`, last)
		return err
	})
	if err != nil {
		return 0, err
	}
	return removed, nil
}

// AuditEvents implements authority.AuditStore.
func (db *Tables) AuditEvents(ctx context.Context, query authority.AuditQuery) ([]authority.Event, error) {
	where, arguments := `seq > ? AND at >= ?`, []any{query.After, Micros(query.Since)}
	if query.User != "" {
		where += ` AND user_name = ?`
		arguments = append(arguments, query.User)
	}
	if !query.Until.IsZero() {
		where += ` AND at < ?`
		arguments = append(arguments, Micros(query.Until))
	}
	if query.Client != "" {
		where += ` AND (api_key = ? OR detail = ?)` // what operators did with the client is detail
		arguments = append(arguments, query.Client, query.Client)
	}
	if len(query.Kinds) > 0 {
		where += ` AND kind IN (?` + strings.Repeat(`, ?`, len(query.Kinds)-1) + `)`
		for _, kind := range query.Kinds {
			arguments = append(arguments, string(kind))
		}
	}
	order := ` ORDER BY seq LIMIT ?`
	if query.Last {
		order = ` ORDER BY seq DESC LIMIT ?`
	}
	var events []authority.Event
	err := db.engine.Query(ctx, func(r Row) error {
		var e authority.Event
		var at int64
		var chain []byte
		var kind string
		var duration int64
		err := r.Scan(&e.Seq, &at, &kind, &e.User, &e.SessionID, &e.Client, &e.Address, &e.RequestID, &e.Detail,
			&e.Method, &e.Host, &e.Path, &e.Status, &duration, &e.UpstreamID, &e.Count, &chain)
		e.At, e.Kind, e.Duration = Moment(at), authority.EventKind(kind), time.Duration(duration)*time.Microsecond
		copy(e.Chain[:], chain)
		events = append(events, e)
		return err
	}, `SELECT `+auditFields+` FROM audit WHERE `+where+order,
		append(arguments, limitOr100(query.Limit))...)
	if query.Last {
		slices.Reverse(events)
	}
	return events, err
}
