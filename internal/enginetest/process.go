package enginetest

import (
	"context"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
)

// program is what is run.
type program struct {
	path      string
	arguments []string
	directory string     // where it runs, and where its log is
	owner     *user.User // whom it runs as; nil is ourselves
	farewell  syscall.Signal
}

// process is a program that runs.
type process struct {
	command *exec.Cmd
	ended   chan struct{}
}

// run starts the program. It is sent its farewell when we end, and everything it
// prints is added to the log.
func (p program) run() (*process, error) {
	log, err := os.OpenFile(p.log(), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()
	command := exec.CommandContext(context.Background(), p.path, p.arguments...) //nolint:gosec // a server that the test names
	command.Dir = p.directory
	command.Stdout, command.Stderr = log, log
	command.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "TZ=UTC"}
	if command.SysProcAttr, err = attributes(p.owner, p.farewell); err != nil {
		return nil, err
	}
	done := make(chan error)
	starter() <- func() { done <- command.Start() }
	if err := <-done; err != nil {
		return nil, err
	}
	running := &process{command: command, ended: make(chan struct{})}
	go running.wait()
	return running, nil
}

func (p program) log() string { return filepath.Join(p.directory, "log") }

// lastWords is the end of the log.
func (p program) lastWords() string {
	text, _ := os.ReadFile(p.log())
	return string(text[max(0, len(text)-2000):])
}

func (p *process) wait() {
	_ = p.command.Wait()
	close(p.ended)
}

// over says whether the process has ended by itself; its number may be another's now.
func (p *process) over() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

func (p *process) pid() int { return p.command.Process.Pid }

// starter starts every program, from one thread that lives as long as we do: the
// system sends the farewell when the thread that started a program ends.
var starter = sync.OnceValue(func() chan<- func() {
	starts := make(chan func())
	go startForEver(starts)
	return starts
})

func startForEver(starts <-chan func()) {
	runtime.LockOSThread()
	for start := range starts {
		start()
	}
}
