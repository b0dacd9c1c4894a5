package cli

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// surroundings are the files and directories that a start may make, and that were not
// there before it.
type surroundings struct {
	files       []string
	directories []string // the deepest ones first
}

// lookAround notes what is not there.
func (f *serveFlags) lookAround() surroundings {
	var missing surroundings
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
		for path = filepath.Dir(path); isMissing(path) && !slices.Contains(missing.directories, path); path = filepath.Dir(path) {
			missing.directories = append(missing.directories, path)
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

// restore removes what a start that failed has made. The server key stays if the other
// replicas have agreed on it.
func (m surroundings) restore(f *serveFlags) {
	for _, path := range m.files {
		if !f.keyAgreed || path != f.keyPath() {
			_ = os.Remove(path) // what cannot be removed stays
		}
	}
	for _, path := range m.directories {
		_ = os.Remove(path) // which fails if anything else is in it, as it should
	}
}
