package store

import (
	"io/fs"
	"strconv"
	"strings"
)

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
