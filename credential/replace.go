package credential

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// replace puts content where the file is, durably, in steps of which each may be
// the last that happens. The caller holds the lock, so the name of the temporary
// file can be a fixed one, and what a crash left of it is removed.
func (f *File) replace(content []byte) error {
	const unchanged = "nothing was saved, and what was there is kept: "
	temporary := f.path + ".tmp"
	err := f.write(temporary, content)
	if err == nil {
		err = f.step("rename")
	}
	if err == nil {
		err = os.Rename(temporary, f.path)
	}
	if err != nil {
		_ = os.Remove(temporary)
		return f.failed(unchanged, bare(err))
	}
	if err = f.step("sync directory"); err == nil {
		err = syncDirectory(filepath.Dir(f.path))
	}
	if err != nil {
		return f.failed("it was saved, but may be gone after a power cut: ", bare(err))
	}
	return f.step("done")
}

func (f *File) write(temporary string, content []byte) error {
	if err := os.Remove(temporary); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := f.step("create"); err != nil {
		return err
	}
	file, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // the operator names the path
	if err != nil {
		return err
	}
	if err = f.step("write"); err == nil {
		_, err = file.Write(content)
	}
	if err == nil {
		err = f.step("sync")
	}
	if err == nil {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}

func syncDirectory(path string) error {
	if runtime.GOOS == "windows" {
		return nil // directories cannot be synced there; NTFS journals the renaming
	}
	directory, err := os.Open(path) //nolint:gosec // the operator names the path
	if err != nil {
		return fmt.Errorf("the directory cannot be opened: %w", err)
	}
	return errors.Join(directory.Sync(), directory.Close())
}
