package cli

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// newFiles lists the files and directories that a start may create and that did not exist
// before it.
type newFiles struct {
	files       []string
	directories []string // the deepest ones first
}

// missingFiles returns what a start of the service may create.
func (f *serveFlags) missingFiles() newFiles {
	var missing newFiles
	if f.simulate {
		return missing
	}
	files := []string{f.certificatePath(), f.socketPath()}
	if f.keyFile == "" {
		files = append(files, f.keyPath())
	}
	if !f.shared() {
		path := f.databasePath()
		files = append(files, path, path+"-wal", path+"-shm", path+".lock")
	}
	for _, path := range files {
		if isMissing(path) {
			missing.files = append(missing.files, path)
		}
	}
	for _, path := range files {
		for parent := filepath.Dir(path); isMissing(parent); parent = filepath.Dir(parent) {
			if slices.Contains(missing.directories, parent) {
				break
			}
			missing.directories = append(missing.directories, parent)
		}
	}
	// A directory has a longer path than the one that it is in.
	slices.SortStableFunc(missing.directories, func(a, b string) int { return len(b) - len(a) })
	return missing
}

func isMissing(path string) bool {
	_, err := os.Lstat(path)
	return errors.Is(err, fs.ErrNotExist)
}

// remove removes what a failed start has created. The server key stays if the other
// replicas have agreed on it.
func (m newFiles) remove(f *serveFlags) {
	for _, path := range m.files {
		if !f.keyAgreed || path != f.keyPath() {
			_ = os.Remove(path) // best effort
		}
	}
	for _, path := range m.directories {
		_ = os.Remove(path) // fails if the directory contains other files, as it should
	}
}
