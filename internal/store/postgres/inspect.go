package postgres

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/latchkey/latchkey/internal/store"
)

// Inspect returns an error if Open or AgreeOnKey would refuse the database at a URL. A nil key
// is not compared. It changes nothing there.
func Inspect(ctx context.Context, address string, key []byte) error {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	name := RedactURL(address)
	cannot := func(err error) error {
		return fmt.Errorf("use database %s: %s", name, plainly(err))
	}
	config, err := pgx.ParseConfig(address)
	if err != nil {
		return cannot(err)
	}
	config.DefaultQueryExecMode = pgx.QueryExecModeExec
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return cannot(err)
	}
	defer func() { _ = conn.Close(ctx) }() // it was only read
	var have int64
	err = conn.QueryRow(ctx, `SELECT max(version_id) FROM schema_version`).Scan(&have)
	if isMissingTable(err) {
		var may bool
		row := conn.QueryRow(ctx, `SELECT COALESCE(has_schema_privilege(current_schema(), 'CREATE'), false)`)
		if err := row.Scan(&may); err != nil {
			return cannot(err)
		}
		if !may {
			return fmt.Errorf("the database %s is new, and this user may not create tables in it", name)
		}
		return nil
	}
	if err != nil {
		return cannot(err)
	}
	want, err := store.NewestSchema(migrations)
	if err != nil {
		return err
	}
	if err := store.CheckSchema(name, have, want); err != nil {
		return err
	}
	var agreed []byte
	err = conn.QueryRow(ctx, `SELECT value FROM shared_settings WHERE name = 'server-key'`).Scan(&agreed)
	if errors.Is(err, pgx.ErrNoRows) || isMissingTable(err) || err == nil && key == nil {
		return nil
	}
	if err != nil {
		return cannot(err)
	}
	if mine := keySum(key); subtle.ConstantTimeCompare(mine[:], agreed) != 1 {
		return fmt.Errorf("%s: %w", name, ErrOtherKey)
	}
	return nil
}

func isMissingTable(err error) bool {
	var refused *pgconn.PgError
	const undefinedTable = "42P01"
	return errors.As(err, &refused) && refused.Code == undefinedTable
}
