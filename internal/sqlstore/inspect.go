package sqlstore

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// newestSchema is the last migration of an engine that this version knows.
func newestSchema(engine string) (newest int64, err error) {
	files, err := fs.ReadDir(migrations, "migrations/"+engine)
	if err != nil {
		return 0, err
	}
	for _, file := range files {
		number, _, _ := strings.Cut(file.Name(), "_")
		version, err := strconv.ParseInt(number, 10, 64)
		if err != nil {
			return 0, err
		}
		newest = max(newest, version)
	}
	return newest, nil
}

// InspectFile reports whether Open would take the embedded database at path, and whether
// it has been used. It changes nothing, and a server may have the database in use.
func InspectFile(ctx context.Context, path string) (used bool, err error) {
	db, err := openFile(path)
	if err != nil {
		return false, err
	}
	defer func() { _ = db.Close() }() // it was only read
	tables, err := countOf(ctx, db, `SELECT count(*) FROM sqlite_schema WHERE name IN ('goose_db_version', 'audit', 'clients')`)
	if err != nil {
		return false, fmt.Errorf("the database %s cannot be read: %w", path, err)
	}
	if tables < 3 {
		return false, nil
	}
	have, err := countOf(ctx, db, `SELECT max(version_id) FROM goose_db_version`)
	if err != nil {
		return false, fmt.Errorf("the database %s cannot be read: %w", path, err)
	}
	want, err := newestSchema("sqlite")
	if err == nil && int64(have) > want {
		err = fmt.Errorf("%s: %w (schema %d, this one knows %d)", path, ErrNewerSchema, have, want)
	}
	if err != nil {
		return true, err
	}
	rows, err := countOf(ctx, db, `SELECT (SELECT count(*) FROM (SELECT 1 FROM audit LIMIT 1)) + (SELECT count(*) FROM clients)`)
	if err != nil {
		return false, fmt.Errorf("the database %s cannot be read: %w", path, err)
	}
	return rows > 0, nil
}

// InspectPostgres reports whether OpenPostgres and AgreeOnKey would take the database at
// a URL. A nil key is not compared. It changes nothing there.
func InspectPostgres(ctx context.Context, address string, key []byte) error {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	name := PostgresName(address)
	cannot := func(err error) error {
		return fmt.Errorf("the database %s cannot be used: %s", name, plainly(err))
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
		if err := conn.QueryRow(ctx, `SELECT COALESCE(has_schema_privilege(current_schema(), 'CREATE'), false)`).Scan(&may); err != nil {
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
	want, err := newestSchema("postgres")
	if err != nil {
		return err
	}
	if have > want {
		return fmt.Errorf("%s: %w (schema %d, this one knows %d)", name, ErrNewerSchema, have, want)
	}
	var agreed []byte
	err = conn.QueryRow(ctx, `SELECT value FROM agreements WHERE name = 'server-key'`).Scan(&agreed)
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
