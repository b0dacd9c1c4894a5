package store

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
)

// Errors that a SchemaError wraps.
var (
	ErrNewerSchema = errors.New("the database was made by a newer latchkey")
	ErrOlderSchema = errors.New("the database was made by a development version of latchkey")
)

// oldestSchema is the first schema that a release has. Those before it had lower numbers.
const oldestSchema = 100

// SchemaError is returned for a database with a schema that this version cannot use. The
// database was not changed.
type SchemaError struct {
	Database     string // its name, without secrets
	Found, Known int64
}

// Error implements error.
func (e *SchemaError) Error() string {
	return fmt.Sprintf("%s: %v (schema %d, this version knows %d)", e.Database, e.Unwrap(), e.Found, e.Known)
}

// Unwrap returns ErrNewerSchema or ErrOlderSchema.
func (e *SchemaError) Unwrap() error {
	if e.Found > e.Known {
		return ErrNewerSchema
	}
	return ErrOlderSchema
}

// Hint returns what to do.
func (e *SchemaError) Hint() string {
	if e.Found > e.Known {
		return "start the newer latchkey, or restore a backup"
	}
	return "start with a new database, or use that version"
}

// OpenError is returned for a database that could not be opened. It was not changed.
type OpenError struct {
	Action   string // what failed: open, read
	Database string // its name, without secrets
	Err      error
	Advice   string
}

// Error implements error.
func (e *OpenError) Error() string {
	return fmt.Sprintf("%s database %s: %v", e.Action, e.Database, e.Err)
}

// Unwrap returns Err.
func (e *OpenError) Unwrap() error { return e.Err }

// Hint returns Advice.
func (e *OpenError) Hint() string { return e.Advice }

// CheckSchema returns a *SchemaError if this version cannot use the schema that was found
// in a database. 0 is that of an empty one.
func CheckSchema(database string, found, known int64) error {
	if found > known || found > 0 && found < oldestSchema {
		return &SchemaError{database, found, known}
	}
	return nil
}

// NewestSchema returns the number of the newest file in the directory "migrations".
func NewestSchema(files fs.FS) (newest int64, err error) {
	entries, err := fs.ReadDir(files, "migrations")
	if err != nil {
		return 0, err
	}
	for _, file := range entries {
		number, _, _ := strings.Cut(file.Name(), "_")
		version, err := strconv.ParseInt(number, 10, 64)
		if err != nil {
			return 0, err
		}
		newest = max(newest, version)
	}
	return newest, nil
}
