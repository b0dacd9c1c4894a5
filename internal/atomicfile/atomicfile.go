// Package atomicfile replaces files as a whole: after a crash at any moment, a file
// has either its old or its new content.
package atomicfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// ErrNotDurable means that the file was replaced, but that its directory could not be
// synced, so that the old content may be back after a power failure.
var ErrNotDurable = errors.New("the file was replaced, but the old one may be back after a power failure")

// The steps of a replacement, in their order.
const (
	StepCreate        = "create"
	StepWrite         = "write"
	StepSync          = "sync"
	StepRename        = "rename"
	StepSyncDirectory = "sync directory"
)

// Write replaces the file at path, or creates it, with mode 0600. Several processes may
// call it at once: the last rename wins. Unless the error is ErrNotDurable, the old file
// is unchanged if there is one. A crash may leave a temporary file beside it, whose name
// is that of the file and ".new-*".
func Write(path string, content []byte) error {
	create := func() (*os.File, error) {
		return os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".new-*") // mode 0600
	}
	return replace(path, content, create, nil)
}

// WriteLocked is like Write for callers that hold a lock which excludes every other
// writer of the file. The name of the temporary file is then always path and ".tmp", and
// what a crash left of it is removed. If before is not nil, it is called before each
// step, and its error ends the replacement as that of the step itself would.
func WriteLocked(path string, content []byte, before func(step string) error) error {
	temporary := path + ".tmp"
	if err := os.Remove(temporary); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	create := func() (*os.File, error) {
		return os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // the operator names the path
	}
	return replace(path, content, create, before)
}

func replace(path string, content []byte, create func() (*os.File, error), before func(step string) error) error {
	if before == nil {
		before = func(string) error { return nil }
	}
	if err := before(StepCreate); err != nil {
		return err
	}
	file, err := create()
	if err != nil {
		return err
	}
	err = write(file, content, before)
	if err == nil {
		err = before(StepRename)
	}
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		_ = os.Remove(file.Name())
		return err
	}
	err = before(StepSyncDirectory)
	if err == nil {
		err = SyncDirectory(filepath.Dir(path))
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotDurable, err)
	}
	return nil
}

// write writes the content, syncs the file, and closes it in any case.
func write(file *os.File, content []byte, before func(step string) error) error {
	err := before(StepWrite)
	if err == nil {
		_, err = file.Write(content)
	}
	if err == nil {
		err = before(StepSync)
	}
	if err == nil {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}

// SyncDirectory makes the names in a directory durable. On Windows it does nothing:
// directories cannot be synced there, and NTFS journals their changes.
func SyncDirectory(path string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	directory, err := os.Open(path) //nolint:gosec // the operator names the path
	if err != nil {
		return err
	}
	return errors.Join(directory.Sync(), directory.Close())
}
