package postgres

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/store"
)

// ErrNotEmpty is returned by Import for a database that has been used.
var ErrNotEmpty = errors.New("the database is not empty")

// imported lists the tables that Import copies, each with the column that identifies a row in
// errors. Sessions are short-lived and are not copied.
var imported = []struct{ name, by string }{
	{"users", "name"}, {"clients", "api_key"}, {"strikes", "failures"}, {"folded_strikes", "id"}, {"audit", "seq"},
}

// Imported is what Import has copied.
type Imported struct {
	Users, Clients, Strikes, Events int
	LastEvent                       int64           // the Seq of the last one
	Head                            authority.Chain // and its Chain
}

// Import copies users, API clients, strikes with their locks, and the audit trail with its
// chain from an embedded database that no server uses. The target must be empty, and must
// have no other server key than this one. In one transaction Import copies everything,
// compares all of it with what it read, and adds the event that note returns; if it fails,
// the target is as it was. Sessions are not copied.
func (db *DB) Import(
	ctx context.Context, from *sql.DB, key []byte, note func(Imported) authority.Event) (done Imported, err error,
) {
	err = pgx.BeginFunc(ctx, db.pool, func(open pgx.Tx) error {
		t := transaction{ctx, open}
		if err := claimEmpty(t, key); err != nil {
			return err
		}
		counts := map[string]int{}
		for _, table := range imported {
			if counts[table.name], err = copyTable(ctx, open, from, table.name, table.by); err != nil {
				return err
			}
		}
		var chain []byte
		head := from.QueryRowContext(ctx, `SELECT seq, chain FROM audit_head WHERE id = 1`)
		if err := head.Scan(&done.LastEvent, &chain); err != nil {
			return fmt.Errorf("read the end of the audit trail: %w", err)
		}
		copy(done.Head[:], chain)
		_, err := t.Exec(`UPDATE audit_head SET seq = ?, chain = ? WHERE id = 1`, done.LastEvent, done.Head[:])
		if err != nil {
			return err
		}
		var generation int64
		if err := from.QueryRowContext(ctx, `SELECT value FROM user_generations WHERE id = 1`).Scan(&generation); err != nil {
			return fmt.Errorf("read the number of generations: %w", err)
		}
		_, err = t.Exec(`UPDATE user_generations SET value = ? WHERE id = 1 AND value < ?`, generation, generation)
		if err != nil {
			return err
		}
		done.Users, done.Clients = counts["users"], counts["clients"]
		done.Strikes, done.Events = counts["strikes"], counts["audit"]
		if err := store.AppendEvents(t, note(done)); err != nil {
			return err
		}
		_, err = t.Exec(`UPDATE revisions SET value = value + 1 WHERE name = 'clients'`)
		return err
	})
	if err != nil {
		return Imported{}, err
	}
	return done, waitStale(ctx) // for replicas that are running
}

// claimEmpty locks out other imports and events until the end of the transaction, and sets the
// server key.
func claimEmpty(t store.Tx, key []byte) error {
	if _, _, err := store.LockAuditHead(t); err != nil {
		return err
	}
	for _, table := range []string{"users", "clients", "strikes", "sessions", "audit"} {
		rows := 0
		err := t.Query(func(r store.Row) error { return r.Scan(&rows) },
			`SELECT count(*) FROM (SELECT 1 FROM `+table+` LIMIT 1) AS found`)
		if err != nil {
			return err
		}
		if rows > 0 {
			return fmt.Errorf("%w: there are %s in it", ErrNotEmpty, map[string]string{
				"users": "users", "clients": "API clients", "strikes": "strikes", "sessions": "sessions",
				"audit": "events of an audit trail",
			}[table])
		}
	}
	mine, agreed := keySum(key), []byte(nil)
	_, err := t.Exec(`INSERT INTO shared_settings (name, value) VALUES ('server-key', ?) ON CONFLICT DO NOTHING`, mine[:])
	if err != nil {
		return err
	}
	err = t.Query(func(r store.Row) error { return r.Scan(&agreed) },
		`SELECT value FROM shared_settings WHERE name = 'server-key'`)
	if err != nil {
		return err
	}
	if subtle.ConstantTimeCompare(mine[:], agreed) != 1 {
		return ErrOtherKey
	}
	return nil
}

// copyTable copies all rows of a table, and compares what it reads back with what it wrote.
func copyTable(ctx context.Context, to pgx.Tx, from *sql.DB, table, by string) (int, error) {
	source, err := from.QueryContext(ctx, `SELECT * FROM `+table) //nolint:gosec // names of ours
	if err != nil {
		return 0, fmt.Errorf("read the %s: %w", table, err)
	}
	defer func() { _ = source.Close() }() // it was only read
	columns, err := source.Columns()
	if err != nil {
		return 0, err
	}
	types, err := columnTypes(ctx, to, table, columns)
	if err != nil {
		return 0, err
	}
	var wrote, read digest
	identity := slices.Index(columns, by)
	_, err = to.CopyFrom(ctx, pgx.Identifier{table}, columns, pgx.CopyFromFunc(func() ([]any, error) {
		if !source.Next() {
			return nil, source.Err()
		}
		values, pointers := make([]any, len(columns)), make([]any, len(columns))
		for i := range values {
			pointers[i] = &values[i]
		}
		if err := source.Scan(pointers...); err != nil {
			return nil, err
		}
		for i := range values {
			if values[i], err = convert(values[i], types[i]); err != nil {
				return nil, fmt.Errorf("the row %v of %s: %s: %w", values[identity], table, columns[i], err)
			}
		}
		wrote.add(values)
		return values, nil
	}))
	if err != nil {
		return 0, fmt.Errorf("copy the %s: %w", table, err)
	}
	rows, err := to.Query(ctx, `SELECT `+strings.Join(columns, ", ")+` FROM `+table)
	if err != nil {
		return 0, err
	}
	defer rows.Close() // Err tells
	for rows.Next() {
		values, err := rows.Values()
		if err != nil {
			return 0, err
		}
		read.add(values)
	}
	if err := rows.Err(); err != nil {
		return 0, err
	}
	if read != wrote {
		return 0, fmt.Errorf("the %s are not the same in both databases: %d rows were copied, %d are there",
			table, wrote.rows, read.rows)
	}
	return wrote.rows, nil
}

// columnTypes returns the types of columns, which the table must have.
func columnTypes(ctx context.Context, to pgx.Tx, table string, columns []string) ([]uint32, error) {
	rows, err := to.Query(ctx, `SELECT `+strings.Join(columns, ", ")+` FROM `+table+` LIMIT 0`)
	if err != nil {
		return nil, err
	}
	rows.Close()
	types := make([]uint32, len(columns))
	for i, field := range rows.FieldDescriptions() {
		types[i] = field.DataTypeOID
	}
	return types, rows.Err()
}

// convert returns a value of SQLite as PostgreSQL takes it.
func convert(value any, to uint32) (any, error) {
	switch v := value.(type) {
	case int64:
		if to == pgtype.Int8OID {
			return v, nil
		}
	case string:
		if to == pgtype.ByteaOID {
			return []byte(v), nil
		}
		if to == pgtype.TextOID {
			return storable(v)
		}
	case []byte:
		if to == pgtype.ByteaOID {
			return append([]byte{}, v...), nil // never nil, which would be NULL
		}
		if to == pgtype.TextOID {
			return storable(string(v))
		}
	}
	return nil, fmt.Errorf("a %T does not fit there", value)
}

// storable returns an error for text that PostgreSQL does not store. A change of the text
// would break the chain of the audit trail.
func storable(text string) (string, error) {
	if !utf8.ValidString(text) || strings.IndexByte(text, 0) >= 0 {
		return "", errors.New("this text is not valid UTF-8, or has a NUL in it, which PostgreSQL does not store")
	}
	return text, nil
}

// digest is a sum over rows in any order.
type digest struct {
	rows int
	sum  [sha256.Size]byte
}

func (d *digest) add(values []any) {
	h := sha256.New()
	for _, value := range values {
		var text []byte
		kind := byte('i')
		switch v := value.(type) {
		case int64:
			text = binary.BigEndian.AppendUint64(nil, uint64(v)) //nolint:gosec // the same bits
		case string:
			kind, text = 's', []byte(v)
		case []byte:
			kind, text = 'b', v
		default:
			kind, text = '?', fmt.Append(nil, v)
		}
		h.Write(binary.BigEndian.AppendUint64([]byte{kind}, uint64(len(text))))
		h.Write(text)
	}
	d.rows++
	subtle.XORBytes(d.sum[:], d.sum[:], h.Sum(nil))
}
