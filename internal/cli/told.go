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

// output is standard output, and remembers whether it failed: most of what is printed
// has nobody to look at its error.
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

// err answers what a command that otherwise worked has to say of its output. A reader
// who left has seen enough.
func (o *output) err() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.failed == nil || errors.Is(o.failed, syscall.EPIPE) {
		return nil
	}
	return fail(exitFailed, "standard output could not be written: %w; what was to be done is done", o.failed)
}

// leadsNowhere reports whether what is written is thrown away: it is the null device, as
// it is, too, if the program was started without any standard output.
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

// tell prints what is told once and was made already. If standard output does not take
// it, it goes to standard error, and if that fails as well, to a file.
func (a *app) tell(secret string) error {
	if a.output.leadsNowhere() {
		if _, err := io.WriteString(a.Err, secret); err == nil {
			a.note("(standard output leads nowhere, so this stands here)")
			return nil
		}
	}
	_, err := io.WriteString(a.Out, secret)
	if err == nil {
		return nil
	}
	var b bytes.Buffer
	b.WriteString("latchkey: standard output could not be written, so what is told this once stands here:\n" + secret)
	if _, told := b.WriteTo(a.Err); told == nil {
		return &failure{code: exitFailed, text: "standard output could not be written: " + err.Error() + "; it was done all the same, and what is told once stands above"}
	}
	path, saved := a.rescue("rescued-secret", secret)
	if saved != nil {
		return &failure{code: exitFailed, text: "it was done, and what is told once could not be told anywhere: have another one made"}
	}
	return &failure{code: exitFailed, text: "it was done, and what is told once is saved in " + path + ": move it from there"}
}

// rescue saves what would be lost in the state directory, for its owner only.
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
