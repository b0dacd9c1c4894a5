package sqlite

import (
	"context"
	"fmt"

	"github.com/latchkey/latchkey/internal/store"
)

// Inspect returns an error if Open would refuse the database at path, and reports whether it
// has been used. It changes nothing, and a server may be using the database.
func Inspect(ctx context.Context, path string) (used bool, err error) {
	db, err := openFile(path)
	if err != nil {
		return false, err
	}
	defer func() { _ = db.Close() }() // it was only read
	tables, err := countOf(ctx, db,
		`SELECT count(*) FROM sqlite_schema WHERE name IN ('goose_db_version', 'audit', 'clients')`)
	if err != nil {
		return false, fmt.Errorf("read database %s: %w", path, err)
	}
	if tables < 3 {
		return false, nil
	}
	have, err := countOf(ctx, db, `SELECT max(version_id) FROM goose_db_version`)
	if err != nil {
		return false, fmt.Errorf("read database %s: %w", path, err)
	}
	want, err := store.NewestSchema(migrations)
	if err == nil {
		err = store.CheckSchema(path, int64(have), want)
	}
	if err != nil {
		return true, err
	}
	rows, err := countOf(ctx, db,
		`SELECT (SELECT count(*) FROM (SELECT 1 FROM audit LIMIT 1)) + (SELECT count(*) FROM clients)`)
	if err != nil {
		return false, fmt.Errorf("read database %s: %w", path, err)
	}
	return rows > 0, nil
}
