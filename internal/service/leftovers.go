package service

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// leftovers are the files and directories that opening a service may create and that did
// not exist before.
type leftovers struct {
	files       []string
	directories []string // the deepest ones first
}

// missing returns what does not exist yet.
func (c *Config) missing() leftovers {
	var m leftovers
	if c.Simulate || c.Data == "" {
		return m
	}
	files := []string{c.CertificatePath(), c.SocketPath()}
	if c.KeyFile == "" {
		files = append(files, c.KeyPath())
	}
	if !c.Shared() {
		path := c.DatabasePath()
		files = append(files, path, path+"-wal", path+"-shm", path+".lock")
	}
	for _, path := range files {
		if isMissing(path) {
			m.files = append(m.files, path)
		}
	}
	for _, path := range files {
		path = filepath.Dir(path)
		for isMissing(path) && !slices.Contains(m.directories, path) {
			m.directories = append(m.directories, path)
			path = filepath.Dir(path)
		}
	}
	// A directory has a longer path than the one that contains it.
	slices.SortStableFunc(m.directories, func(a, b string) int { return len(b) - len(a) })
	return m
}

func isMissing(path string) bool {
	_, err := os.Lstat(path)
	return errors.Is(err, fs.ErrNotExist)
}

// remove removes what a failed start created, except keep.
func (m leftovers) remove(keep string) {
	for _, path := range m.files {
		if path != keep {
			_ = os.Remove(path) // on failure it stays
		}
	}
	for _, path := range m.directories {
		_ = os.Remove(path) // fails, as it should, if anything else is in it
	}
}
