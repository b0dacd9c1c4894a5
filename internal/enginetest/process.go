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

// program is a command line and how to run it.
type program struct {
	path      string
	arguments []string
	directory string     // the working directory, which also has the log
	owner     *user.User // nil: the current user
	farewell  syscall.Signal
}

// process is a running program.
type process struct {
	command *exec.Cmd
	ended   chan struct{}
}

// run starts the program. The system sends it the signal farewell when this process ends. Its
// output is appended to the log.
func (p program) run() (*process, error) {
	log, err := os.OpenFile(p.log(), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()
	//nolint:gosec // the caller names the program
	command := exec.CommandContext(context.Background(), p.path, p.arguments...)
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

// logTail returns the end of the log.
func (p program) logTail() string {
	text, _ := os.ReadFile(p.log())
	return string(text[max(0, len(text)-2000):])
}

func (p *process) wait() {
	_ = p.command.Wait()
	close(p.ended)
}

// hasEnded reports whether the process has ended. Its ID may belong to another process then.
func (p *process) hasEnded() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

func (p *process) pid() int { return p.command.Process.Pid }

// starter starts every program in one thread that lives as long as this process, because the
// system sends farewell when the thread that started the program ends.
var starter = sync.OnceValue(func() chan<- func() {
	starts := make(chan func())
	go startForever(starts)
	return starts
})

func startForever(starts <-chan func()) {
	runtime.LockOSThread()
	for start := range starts {
		start()
	}
}
