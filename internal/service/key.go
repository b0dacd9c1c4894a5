package service

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/latchkey/latchkey/internal/atomicfile"
)

const (
	keyBytes    = 32
	maxKeyBytes = 4 << 10
)

// KeyPath returns the path of the server key.
func (s *Store) KeyPath() string {
	if s.KeyFile != "" {
		return s.KeyFile
	}
	return filepath.Join(s.Data, KeyFile)
}

// ReadKey returns the server key. The error is fs.ErrNotExist if there is none.
func (s *Store) ReadKey() ([]byte, error) {
	if s.Key != nil {
		return s.Key, nil
	}
	path := s.KeyPath()
	info, err := os.Stat(path)
	if err != nil {
		return nil, failed("the server key cannot be read: %w; nothing was done", err)
	}
	if OthersMay(info, 0o077) {
		return nil, failed("others may read the server key %s (mode %#o), and so make access tokens; nothing was done",
			path, info.Mode().Perm()).advise("change its mode: chmod 600 %s", path)
	}
	key, err := readKeyFile(path)
	if err != nil {
		return nil, failed("the server key cannot be read: %w; nothing was done", err)
	}
	if len(key) < keyBytes {
		return nil, failed("the server key %s has %d bytes, and at least %d are needed; nothing was done",
			path, len(key), keyBytes).
			advise("restore it from a backup, or delete it and start once with --new-key, which ends all access tokens")
	}
	return key, nil
}

func readKeyFile(path string) ([]byte, error) {
	file, err := os.Open(path) //nolint:gosec // the operator names the file
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // it was only read
	key, err := io.ReadAll(io.LimitReader(file, maxKeyBytes+1))
	if err == nil && len(key) > maxKeyBytes {
		err = fmt.Errorf("%s is longer than %d bytes", path, maxKeyBytes)
	}
	return key, err
}

func newKey() []byte {
	key := make([]byte, keyBytes)
	_, _ = rand.Read(key) // it cannot fail; it ends the program instead
	return key
}

// serverKey returns the server key. The first start creates the one in the data directory.
// used reports whether the database has been used, which is impossible without a key. The
// caller holds the database, so that no other process creates a key at the same time.
func (s *Store) serverKey(used func() (bool, error)) ([]byte, error) {
	key, err := s.ReadKey()
	if s.NewKey && err == nil {
		return nil, failed("there is a server key in %s, and --new-key is for a lost one; nothing was started", s.KeyPath()).
			advise("leave --new-key out, or move the key elsewhere")
	}
	if !errors.Is(err, fs.ErrNotExist) || s.KeyFile != "" {
		return key, err
	}
	was, err := used()
	if err != nil {
		return nil, err
	}
	if was && !s.NewKey {
		return nil, failed("the server key %s is missing, and the database %s has been used with one; nothing was started",
			s.KeyPath(), s.Name()).advise("restore the key from a backup, or start once with --new-key: all access tokens " +
			"end, and programs fetch new ones")
	}
	key = newKey()
	if err := atomicfile.Write(s.KeyPath(), key); err != nil {
		return nil, failed("the server key cannot be stored: %w; nothing was started", err)
	}
	return key, nil
}

// makeDataDir creates the data directory for its owner only. An existing one may be
// readable by others, as volumes of containers are, but not writable: another user could
// replace the database.
func makeDataDir(path string) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return failed("the data directory cannot be created: %w; nothing was started", err).
			advise("choose a place that you may write to with --data")
	}
	info, err := os.Stat(path)
	if err != nil {
		return failed("the data directory cannot be used: %w; nothing was started", err)
	}
	if OthersMay(info, 0o002) {
		return failed("every user may write in the data directory %s, and so take over the service; nothing was started",
			path).advise("change its mode: chmod o-w %s", path)
	}
	probe, err := os.CreateTemp(path, ".writable-*")
	if err != nil {
		return failed("the data directory %s cannot be written to: %w; nothing was started", path, errors.Unwrap(err)).
			advise("run as its owner, or choose another one with --data")
	}
	return errors.Join(probe.Close(), os.Remove(probe.Name()))
}

// OthersMay reports whether the mode of a file gives other users the permissions bits. On
// Windows a mode does not say so.
func OthersMay(info fs.FileInfo, bits fs.FileMode) bool {
	return runtime.GOOS != "windows" && info.Mode().Perm()&bits != 0
}
