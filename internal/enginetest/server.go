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

// patience is for how long a server may start, on a machine that is busy.
const patience = time.Minute

// kind is what one sort of server is.
type kind struct {
	name    string
	program func(directory string, port int) (program, error)                // how it is run there
	answers func(ctx context.Context, directory string, port, pid int) error // that process does
	above   int                                                              // it also uses the port that many higher
}

// server is one of them.
type server struct {
	kind
	directory string

	mu      sync.Mutex
	t       testing.TB
	port    int
	program program
	process *process // nil while it does not run
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
		// Somebody else may have taken the port since it was free.
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

// start runs the process and waits until it answers.
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
		err := s.answers(ctx, s.directory, s.port, p.pid())
		if err == nil {
			s.process = p
			return nil
		}
		select {
		case <-p.ended:
			return fmt.Errorf("it ended while it was started, and last said:\n%s", s.program.lastWords())
		case <-ctx.Done():
			p.kill()
			return fmt.Errorf("it does not answer: %w; it last said:\n%s", err, s.program.lastWords())
		case <-tick.C:
		}
	}
}

// Addr is where the server listens, as host:port.
func (s *server) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// Kill ends the server and everything that it has started, as a crash would: nothing
// is written any more. It returns when they are gone.
func (s *server) Kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process != nil {
		s.process.kill()
		s.process = nil
	}
}

// Start starts the server again after Kill, where it was and with the data that it
// had, and returns when it answers. If it does not, the test has failed.
func (s *server) Start() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process != nil {
		return
	}
	if err := s.start(); err != nil {
		s.t.Errorf("%s does not start again: %v", s.name, err)
	}
}

// stop ends the server in the way that leaves nothing behind.
func (s *server) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process != nil {
		s.process.interrupt(s.program.farewell)
		s.process = nil
	}
}

// directoryOf is a directory that ends with the test.
func directoryOf(t testing.TB, name string, create func() (string, error)) string {
	t.Helper()
	directory, err := create()
	if directory != "" {
		t.Cleanup(func() { _ = os.RemoveAll(directory) })
	}
	check(t, name, err)
	return directory
}
