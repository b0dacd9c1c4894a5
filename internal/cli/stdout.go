package cli

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/latchkey/latchkey/internal/atomicfile"
)

// output is standard output. It remembers errors, because most callers that print ignore
// them.
type output struct {
	to io.Writer

	mu     sync.Mutex
	failed error
}

// Write implements io.Writer.
func (o *output) Write(text []byte) (int, error) {
	n, err := o.to.Write(text)
	if err != nil {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.failed = errors.Join(o.failed, err)
	}
	return n, err
}

// err returns the error of a command that succeeded but could not write its output. An
// output that was closed by its reader is not an error.
func (o *output) err() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.failed == nil || errors.Is(o.failed, syscall.EPIPE) {
		return nil
	}
	return fail(exitFailed, "write standard output: %w; the command itself succeeded", o.failed)
}

// leadsNowhere reports whether the output is the null device, which it also is if the
// program was started without a standard output.
func (o *output) leadsNowhere() bool {
	file, ok := o.to.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	if err != nil {
		return false
	}
	null, err := os.Stat(os.DevNull)
	return err == nil && os.SameFile(info, null)
}

// tell prints a secret that is shown only once. If standard output fails, it writes to
// standard error, and if that fails as well, to a file.
func (a *app) tell(secret string) error {
	if a.output.leadsNowhere() {
		if _, err := io.WriteString(a.Err, secret); err == nil {
			a.note("(standard output is the null device, so this is on standard error)")
			return nil
		}
	}
	_, err := io.WriteString(a.Out, secret)
	if err == nil {
		return nil
	}
	var b bytes.Buffer
	b.WriteString("latchkey: standard output could not be written; this is shown only once:\n" + secret)
	if _, told := b.WriteTo(a.Err); told == nil {
		return fail(exitFailed, "write standard output: %v; the command itself succeeded, "+
			"and the secret is shown above, once", err).hint("copy the secret now")
	}
	path, saved := a.rescue("rescued-secret", secret)
	if saved != nil {
		return fail(exitFailed, "the command succeeded, but its secret could not be shown or saved").
			hint("make another secret")
	}
	return fail(exitFailed, "the command succeeded, and its secret is saved in %s", path).hint("move it from there")
}

// rescue saves content in the state directory, readable by its owner only.
func (a *app) rescue(name, content string) (path string, err error) {
	directory, err := stateDirectory()
	if err == nil {
		err = os.MkdirAll(directory, 0o700)
	}
	if err != nil {
		return "", err
	}
	path = filepath.Join(directory, name+"-"+a.Now().UTC().Format("20060102T150405.000"))
	return path, atomicfile.Write(path, []byte(content))
}
