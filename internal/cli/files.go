package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// readBounded reads a whole file of at most limit bytes.
func readBounded(path string, limit int64) ([]byte, error) {
	file, err := os.Open(path) //nolint:gosec // the user names the file
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // it was only read
	text, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(text)) > limit {
		return nil, fmt.Errorf("%s is longer than %d bytes", path, limit)
	}
	return text, nil
}

// writeSynced writes the content to the start of the file, makes it durable, and
// closes the file.
func writeSynced(file *os.File, content []byte) error {
	_, err := file.WriteAt(content, 0)
	return errors.Join(err, file.Sync(), file.Close())
}
