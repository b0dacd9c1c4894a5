package credential

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"sync"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/credential/internal/hint"
)

// FlatFileConfig is the configuration of a FlatFile. PasswordPath and either User or
// UserPath are required.
type FlatFileConfig struct {
	User         string       // the user name itself
	UserPath     string       // or the file that holds the user name and nothing else
	PasswordPath string       // the file that holds the password and nothing else
	Log          *slog.Logger // default: slog.Default()
}

// FlatFile is a Source that reads files which hold nothing but a value, as Kubernetes,
// Docker and systemd pass secrets to a program. It reads them at every Load. One line
// break at the end is not part of the value.
//
// Load refuses a file that other users may write. A file that other users may read is
// common for secrets that containers mount: Load accepts it, and logs one warning.
type FlatFile struct {
	config FlatFileConfig
	warn   sync.Once
}

var _ Source = (*FlatFile)(nil)

// NewFlatFile returns the Source, or an error if the configuration is not complete. The
// files need not exist yet.
func NewFlatFile(config FlatFileConfig) (*FlatFile, error) {
	if config.PasswordPath == "" || (config.User == "") == (config.UserPath == "") {
		return nil, errors.New("credential: a flat file needs PasswordPath, and either User or UserPath")
	}
	if config.Log == nil {
		config.Log = slog.Default()
	}
	return &FlatFile{config: config}, nil
}

// Load implements Source.
func (f *FlatFile) Load(ctx context.Context) (Credential, error) {
	if err := ctx.Err(); err != nil {
		return Credential{}, fmt.Errorf("credential: flat file: %w", err)
	}
	c := Credential{User: f.config.User}
	if f.config.UserPath != "" {
		user, _, err := readValue(f.config.UserPath)
		if err != nil {
			return Credential{}, err
		}
		c.User = user
	}
	password, mode, err := readValue(f.config.PasswordPath)
	if err != nil {
		return Credential{}, err
	}
	c.Password = latchkey.Secret(password)
	if err := c.Check(); err != nil {
		return Credential{}, fmt.Errorf("credential: flat file %s: %w", f.config.PasswordPath, err)
	}
	if shared(mode, 0o044) {
		f.warn.Do(func() {
			f.config.Log.Warn("other users of this machine may read the file with the password: run chmod 600 on it",
				"file", f.config.PasswordPath, "mode", fmt.Sprintf("%04o", mode.Perm()))
		})
	}
	return c, nil
}

func readValue(path string) (string, fs.FileMode, error) {
	content, mode, err := readFile(path, maxValue)
	if errors.Is(err, fs.ErrNotExist) {
		return "", 0, fmt.Errorf("credential: flat file %s does not exist: %w", path, ErrNotFound)
	}
	if err == nil && shared(mode, 0o022) {
		err = hint.With(fmt.Errorf("other users may write it (mode %04o)", mode.Perm()), "Run chmod 600 on the file.")
	}
	if err != nil {
		return "", 0, fmt.Errorf("credential: flat file %s: %w", path, err)
	}
	value := strings.TrimSuffix(strings.TrimSuffix(string(content), "\n"), "\r")
	return value, mode, nil
}

// maxValue is the maximum size of a file with a single value.
const maxValue = 16 << 10

// readFile returns the content and the mode of a regular file of at most limit bytes.
func readFile(path string, limit int64) ([]byte, fs.FileMode, error) {
	// Stat comes before Open, because Open waits for the writer of a pipe.
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		return nil, 0, errors.New("it is not a regular file")
	}
	if err != nil {
		return nil, 0, bare(err)
	}
	file, err := os.Open(path) //nolint:gosec // the operator names the path
	if err != nil {
		return nil, 0, bare(err)
	}
	defer func() { _ = file.Close() }()
	if info, err = file.Stat(); err != nil {
		return nil, 0, bare(err)
	}
	var content bytes.Buffer
	if n, err := content.ReadFrom(io.LimitReader(file, limit+1)); err != nil {
		return nil, 0, bare(err)
	} else if n > limit {
		return nil, 0, fmt.Errorf("it is longer than %d bytes", limit)
	}
	return content.Bytes(), info.Mode(), nil
}

// shared reports whether mode has one of the bits. Windows has no such bits.
func shared(mode fs.FileMode, bits fs.FileMode) bool {
	return runtime.GOOS != "windows" && mode.Perm()&bits != 0
}

// bare returns the cause of a file system error without the path, because the text around
// it names the path already.
func bare(err error) error {
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		return path.Err
	}
	if link, ok := errors.AsType[*os.LinkError](err); ok {
		return link.Err
	}
	return err
}
