package cli

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/latchkey/latchkey/internal/atomicfile"
	"github.com/latchkey/latchkey/internal/wire"
)

// ready is the content of --ready-file.
type ready struct {
	URL  string `json:"url"`
	PID  int    `json:"pid"`
	Data string `json:"data"`
}

const maxReadyBytes = 64 << 10

// readReady reads a file that writeReadyFile has written.
func readReady(path string) (r ready, err error) {
	text, err := readBounded(path, maxReadyBytes)
	if err == nil {
		err = json.Unmarshal(text, &r)
	}
	if err == nil && (r.URL == "" || r.PID == 0) {
		err = errors.New("it holds something else")
	}
	return r, err
}

// clearReadyFile removes the file that a killed service left behind, so that it is not
// mistaken for the file of this start. It removes nothing else.
func clearReadyFile(path string) error {
	if path == "" {
		return nil
	}
	_, err := readReady(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fail(exitFailed, "%s exists and is not a ready file: %w; it was not changed, and nothing was started", path,
			err).
			hint("name another file with --ready-file")
	}
	if err := os.Remove(path); err != nil {
		return fail(exitFailed, "the ready file of another start cannot be removed: %w; nothing was started", err)
	}
	return nil
}

// writeReadyFile writes the file when requests are served. The write is atomic: a
// program that waits for the file never reads half of it.
func (f *serveFlags) writeReadyFile(url string) error {
	if f.readyFile == "" {
		return nil
	}
	data, err := filepath.Abs(f.Data)
	if err != nil {
		data = f.Data
	}
	text, err := wire.Marshal(ready{URL: url, PID: os.Getpid(), Data: data})
	if err == nil {
		err = atomicfile.Write(f.readyFile, append(text, '\n'))
	}
	if err != nil {
		return fail(exitFailed, "the ready file cannot be written: %w; nothing was started", err).
			hint("name another file with --ready-file")
	}
	return nil
}

// removeReadyFile removes the file, unless it is by now that of another service.
func removeReadyFile(path string) {
	if path == "" {
		return
	}
	if r, err := readReady(path); err == nil && r.PID == os.Getpid() {
		_ = os.Remove(path) // a program that still reads it finds no service at the URL
	}
}
