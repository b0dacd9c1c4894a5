package sqlstore

import (
	"database/sql"
	"errors"
	"fmt"
	"io/fs"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// Why Open refuses a database. Each comes wrapped in an *OpenError.
var (
	// ErrInUse: another process has the database open.
	ErrInUse = errors.New("the database is in use by another server")
	// ErrNewerSchema: a later version of the program has written the database.
	ErrNewerSchema = errors.New("the database was written by a newer version of latchkey")
	// ErrOpen: anything else that keeps the database from being opened.
	ErrOpen = errors.New("the database cannot be opened")
)

// errClosed is what every method answers after Close.
var errClosed = errors.New("the database is closed")

// OpenError says in one line why Open refused a database and what to do. It
// wraps one of ErrInUse, ErrNewerSchema and ErrOpen, and the cause if there is
// one. Nothing in the database was changed.
type OpenError struct {
	Path    string
	Kind    error
	Problem string // what is wrong: "the directory does not exist"
	Advice  string // what to do about it
	Cause   error  // may be nil
}

func (e *OpenError) Error() string {
	return fmt.Sprintf("cannot open the database %s: %s; %s", e.Path, e.Problem, e.Advice)
}

// Unwrap returns the kind and the cause.
func (e *OpenError) Unwrap() []error { return []error{e.Kind, e.Cause} }

// refused turns what the system or SQLite said while opening into an OpenError.
func refused(path string, err error) error {
	if known := (*OpenError)(nil); errors.As(err, &known) {
		return err
	}
	problem, advice := err.Error(), "see the cause above"
	switch code := sqliteCode(err); {
	case code == sqlite3.SQLITE_NOTADB:
		problem, advice = "the file is not an SQLite database", "name another file, or restore it from a backup"
	case code == sqlite3.SQLITE_CORRUPT:
		problem, advice = "the file is damaged", "restore it from a backup"
	case code == sqlite3.SQLITE_BUSY:
		problem, advice = "another program holds it locked", "close that program (a database shell, a backup) and try again"
	case code == sqlite3.SQLITE_FULL:
		problem, advice = "the disk is full", "free some space and try again"
	case code == sqlite3.SQLITE_READONLY, code == sqlite3.SQLITE_CANTOPEN, errors.Is(err, fs.ErrPermission):
		problem, advice = "permission denied", "let the user that runs latchkey read and write the file and its directory"
	default:
		advice = "put that right and try again"
	}
	return &OpenError{Path: path, Kind: ErrOpen, Problem: problem, Advice: advice, Cause: err}
}

// sqliteCode returns the primary SQLite result code of err, or 0.
func sqliteCode(err error) int {
	if e := (*sqlite.Error)(nil); errors.As(err, &e) {
		return e.Code() & 0xff
	}
	return 0
}

// orElse replaces "no rows" by what its absence means to the caller.
func orElse(err, absent error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return absent
	}
	return err
}
