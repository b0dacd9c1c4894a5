package enginetest

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// patience is how long a server may take to start on a busy machine.
const patience = time.Minute

// kind is the kind of a server.
type kind struct {
	name string
	// program returns the program for a server in the directory.
	program func(directory string, port int) (program, error)
	// check returns nil if the process with the ID pid serves the port.
	check func(ctx context.Context, directory string, port, pid int) error
	// above is how much higher the second port is that the server uses, or zero.
	above int
}

// server is a server of some kind.
type server struct {
	kind
	directory string

	mu      sync.Mutex
	t       testing.TB
	port    int
	program program
	process *process // nil while it is not running
}

// newServer starts a server in its directory, on a free port.
func newServer(k kind, directory string) (*server, error) {
	s := &server{kind: k, directory: directory}
	for attempt := 0; ; attempt++ {
		var err error
		if s.port, err = freePort(k.above); err != nil {
			return nil, err
		}
		if s.program, err = k.program(directory, s.port); err != nil {
			return nil, err
		}
		err = s.start()
		if err == nil {
			return s, nil
		}
		// Another process may have taken the port in the meantime.
		if attempt == 5 || !strings.Contains(err.Error(), "Address already in use") {
			return nil, err
		}
		_ = os.Remove(s.program.log())
	}
}

// startServer starts a server that ends with the test.
func startServer(t testing.TB, k kind, directory string) *server {
	t.Helper()
	s, err := newServer(k, directory)
	check(t, k.name, err)
	s.t = t
	t.Cleanup(s.stop)
	return s
}

// start starts the process and waits until the server is ready.
func (s *server) start() error {
	p, err := s.program.run()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		err := s.check(ctx, s.directory, s.port, p.pid())
		if err == nil {
			s.process = p
			return nil
		}
		select {
		case <-p.ended:
			return fmt.Errorf("the server ended during its start, with the log:\n%s", s.program.logTail())
		case <-ctx.Done():
			p.kill()
			return fmt.Errorf("the server is not ready: %w, with the log:\n%s", err, s.program.logTail())
		case <-tick.C:
		}
	}
}

// Addr returns the address of the server as host:port.
func (s *server) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// Kill kills the server and its child processes, as a crash would, and returns when they are
// gone.
func (s *server) Kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process != nil {
		s.process.kill()
		s.process = nil
	}
}

// Start starts the server again after Kill, with the same address and the same data, and returns
// when it is ready. If it does not start, the test fails.
func (s *server) Start() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process != nil {
		return
	}
	if err := s.start(); err != nil {
		s.t.Errorf("restart %s: %v", s.name, err)
	}
}

// stop stops the server without leaving anything behind.
func (s *server) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process != nil {
		s.process.interrupt(s.program.farewell)
		s.process = nil
	}
}

// directoryOf creates a directory that is removed when the test ends.
func directoryOf(t testing.TB, name string, create func() (string, error)) string {
	t.Helper()
	directory, err := create()
	if directory != "" {
		t.Cleanup(func() { _ = os.RemoveAll(directory) })
	}
	check(t, name, err)
	return directory
}
