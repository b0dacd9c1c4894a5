package replicas_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/testsupport"
)

// replica is a replica, whose process may be restarted.
type replica struct {
	t           testing.TB
	number      int
	data        string
	arguments   []string
	environment map[string]string
	log         *testsupport.Log
	address     atomic.Pointer[string]

	mu      sync.Mutex
	command *exec.Cmd
	input   io.Closer
	read    chan struct{} // closed when its log has been read
}

func (r *replica) url() string {
	if address := r.address.Load(); address != nil {
		return *address
	}
	return "http://127.0.0.1:1"
}

func (r *replica) socket() string { return filepath.Join(r.data, "latchkey.sock") }

var listens = regexp.MustCompile(`serves the session API on (\S+)`)

// latchkey returns a command that runs the test binary as `latchkey`.
func latchkey(environment map[string]string, arguments ...string) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	command := exec.Command(self, arguments...)
	for _, pair := range os.Environ() {
		if !strings.HasPrefix(pair, "LATCHKEY_") {
			command.Env = append(command.Env, pair)
		}
	}
	// By default the race detector waits a second at the end of every process.
	command.Env = append(command.Env, asLatchkey+"=yes", "GORACE=atexit_sleep_ms=0")
	for name, value := range environment {
		command.Env = append(command.Env, name+"="+value)
	}
	return command, nil
}

// start starts the process and waits until it listens.
func (r *replica) start() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	command, err := latchkey(r.environment, append([]string{"serve"}, r.arguments...)...)
	if err != nil {
		return err
	}
	output, err := command.StderrPipe()
	if err != nil {
		return err
	}
	if r.input, err = command.StdinPipe(); err != nil {
		return err
	}
	if err := command.Start(); err != nil {
		return err
	}
	r.command, r.read = command, make(chan struct{})
	found, read := make(chan string, 1), r.read
	go func() {
		defer close(read)
		defer close(found)
		for lines := bufio.NewScanner(output); lines.Scan(); {
			_, _ = r.log.Write(append(lines.Bytes(), '\n'))
			if match := listens.FindStringSubmatch(lines.Text()); match != nil {
				found <- match[1]
			}
		}
	}()
	late := time.NewTimer(patience)
	defer late.Stop()
	select {
	case at := <-found:
		if at == "" {
			_ = command.Wait()
			r.command = nil
			return fmt.Errorf("replica %d did not start:\n%s", r.number, r.log)
		}
		r.address.Store(&at)
		return nil
	case <-late.C:
		_ = command.Process.Kill()
		return fmt.Errorf("replica %d does not listen:\n%s", r.number, r.log)
	}
}

// signal sends a signal to the process.
func (r *replica) signal(s os.Signal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.command.Process.Signal(s); err != nil {
		r.t.Error(err)
	}
}

// kill kills the process with SIGKILL.
func (r *replica) kill() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.command == nil {
		return
	}
	_ = r.command.Process.Kill()
	<-r.read
	_ = r.command.Wait()
	_ = r.input.Close()
	r.command = nil
}
