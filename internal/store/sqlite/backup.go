package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	"github.com/latchkey/latchkey/internal/atomicfile"
)

// Errors of Backup beside those of the operating system.
var (
	ErrNoDatabase   = errors.New("there is no latchkey database")
	ErrBackupExists = errors.New("the file exists already")
)

// Backup writes a consistent copy of the embedded database at path to a new file, readable
// by its owner only, and returns when the copy is durable and was found sound. The
// database may be in use by a server, which goes on. Backup changes nothing in it.
// If Backup fails, it leaves no file behind.
func Backup(ctx context.Context, path, file string) (err error) {
	path, err = filepath.Abs(path)
	if err != nil {
		return err
	}
	if file, err = filepath.Abs(file); err != nil { // a relative name could be read as a URI
		return err
	}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: %w", path, ErrNoDatabase)
	}
	// The name is reserved first: the copy replaces nothing but this empty file.
	reserved, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // the operator's own path
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s: %w", file, ErrBackupExists)
	}
	if err != nil {
		return err
	}
	made := []string{file}
	defer func() {
		if err != nil {
			for _, name := range made {
				_ = os.Remove(name) // the error says that there is no backup
			}
		}
	}()
	if err := reserved.Close(); err != nil {
		return err
	}
	copied, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+".partial-*") // mode 0600
	if err != nil {
		return err
	}
	made = append(made, copied.Name())
	defer func() { err = errors.Join(err, copied.Close()) }()
	if err := copyDatabase(ctx, path, copied.Name()); err != nil {
		return err
	}
	if err := copied.Sync(); err != nil {
		return err
	}
	if err := os.Rename(copied.Name(), file); err != nil {
		return err
	}
	return atomicfile.SyncDirectory(filepath.Dir(file))
}

// copyDatabase makes SQLite write the copy, and verifies it.
func copyDatabase(ctx context.Context, from, to string) error {
	source, err := openFile(from)
	if err != nil {
		return err
	}
	defer func() { _ = source.Close() }() // it was only read
	tables, err := countOf(ctx, source, `SELECT count(*) FROM sqlite_schema
		WHERE name IN ('users', 'strikes', 'clients', 'sessions', 'audit')`)
	if err != nil {
		return fmt.Errorf("read the database %s: %w", from, err)
	}
	if tables != 5 {
		return fmt.Errorf("%s: %w: it is another database, or one that was never started", from, ErrNoDatabase)
	}
	if _, err := source.ExecContext(ctx, `VACUUM INTO ?`, to); err != nil {
		return fmt.Errorf("copy the database %s: %w", from, err)
	}
	made, err := openFile(to)
	if err != nil {
		return err
	}
	defer func() { _ = made.Close() }() // it was only read
	var verdict string
	if err := made.QueryRowContext(ctx, `PRAGMA integrity_check(1)`).Scan(&verdict); err != nil {
		return fmt.Errorf("read the copy: %w", err)
	}
	if verdict != "ok" {
		return fmt.Errorf("the database %s is damaged: %s", from, verdict)
	}
	return nil
}

// openFile opens a database for reading, without the lock. It is opened for writing, so that
// SQLite removes the files beside it when the last connection ends.
func openFile(path string) (*sql.DB, error) {
	address := url.URL{Scheme: "file", Opaque: (&url.URL{Path: filepath.ToSlash(path)}).EscapedPath()}
	db, err := sql.Open("sqlite", address.String()+"?mode=rw&_pragma=busy_timeout(10000)&_pragma=temp_store(2)")
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	return db, nil
}

func countOf(ctx context.Context, db *sql.DB, query string) (n int, err error) {
	err = db.QueryRowContext(ctx, query).Scan(&n)
	return n, err
}
