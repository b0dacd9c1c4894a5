// Package hashworker hashes passwords in a process of its own, which runs this program again
// with the lowest priority: neither its use of the processor nor its garbage delays what the
// service does beside it. If the process cannot be used, the service hashes in its own.
//
// Main makes a program usable as the process. The passwords go through a pipe alone.
package hashworker

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"sync"
	"time"

	"github.com/latchkey/latchkey/internal/authority"
)

const (
	// longestHash bounds the wait for a sum. A login may take 30 s in all.
	longestHash = 15 * time.Second
	// longestStart bounds the wait for a process that starts.
	longestStart = 5 * time.Second
	// A process that ended is started again at once if it ran for steadyAfter, or else after
	// a pause that doubles up to longestPause.
	steadyAfter   = time.Minute
	shortestPause = 100 * time.Millisecond
	longestPause  = time.Minute
)

// Worker starts the process at the first hash, and again after it ended.
type Worker struct {
	log *slog.Logger

	mu      sync.Mutex
	current *process // nil: none runs
	closed  bool
	warned  bool // that it cannot be started
	pause   time.Duration
	next    time.Time // no start before
}

// New returns a Worker, or nil if this program cannot be the process: its main function did
// not call Main.
func New(log *slog.Logger) *Worker {
	if !usable {
		return nil
	}
	return &Worker{log: log}
}

// Sum returns what p.Sum returns. It hashes in this process if the other one cannot be
// started or ends before that.
func (w *Worker) Sum(p authority.HashParams, password, salt []byte, size uint32) []byte {
	if request, ok := encodeRequest(p, password, salt, size); ok {
		defer clear(request)
		if running := w.running(); running != nil {
			if sum, ok := running.ask(request); ok && len(sum) == int(size) {
				return sum
			}
		}
	}
	return p.Sum(password, salt, size)
}

// Close ends the process. Hashes in progress are made in this one.
func (w *Worker) Close() error {
	w.mu.Lock()
	w.closed = true
	running := w.current
	w.mu.Unlock()
	if running != nil {
		running.kill()
		<-running.reaped
	}
	return nil
}

// running returns the process, which it starts if none runs, or nil if that is not possible now.
func (w *Worker) running() *process {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.current != nil || w.closed || time.Now().Before(w.next) {
		return w.current
	}
	started, err := start(w.log)
	if err != nil {
		w.delay()
		if !w.warned {
			w.warned = true
			w.log.Warn("passwords are hashed in the process of the service, because another cannot be started; "+
				"many logins at once can delay other requests", "error", err)
		}
		return nil
	}
	w.current = started
	go w.watch(started)
	return started
}

// delay puts the next start off. The caller holds mu.
func (w *Worker) delay() {
	w.pause = min(max(2*w.pause, shortestPause), longestPause)
	w.next = time.Now().Add(w.pause)
}

// watch waits for the end of the process.
func (w *Worker) watch(p *process) {
	begin := time.Now()
	err := p.receive()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.current = nil
	if w.closed {
		return
	}
	if time.Since(begin) >= steadyAfter {
		w.pause, w.next = 0, time.Time{}
	} else {
		w.delay()
	}
	w.log.Warn("the process that hashes passwords ended; it is started again for one of the next", "error", err)
}

// process is one that runs.
type process struct {
	command *exec.Cmd
	input   io.WriteCloser
	output  *bufio.Reader
	ended   chan struct{} // closed when it can give no more sums
	reaped  chan struct{} // closed when it is gone

	mu      sync.Mutex // held while a request is written
	last    uint64
	waiting map[uint64]chan []byte
}

// start starts the process and waits until it is ready.
func start(log *slog.Logger) (*process, error) {
	path, err := executable()
	if err != nil {
		return nil, err
	}
	command := exec.Command(path, Name) //nolint:gosec,noctx // ourselves, until Close
	command.Args[0] = os.Args[0]
	command.Env = []string{} // it needs no setting, and must see no secret
	command.SysProcAttr = apart()
	command.Stderr = lineLog{log}
	p := &process{
		command: command, waiting: map[uint64]chan []byte{}, ended: make(chan struct{}), reaped: make(chan struct{}),
	}
	if p.input, err = command.StdinPipe(); err != nil {
		return nil, err
	}
	output, err := command.StdoutPipe()
	if err != nil {
		return nil, errors.Join(err, p.input.Close())
	}
	p.output = bufio.NewReader(output)
	if err := command.Start(); err != nil {
		return nil, err
	}
	limit := time.AfterFunc(longestStart, p.kill)
	defer limit.Stop()
	first := make([]byte, len(greeting))
	if _, err = io.ReadFull(p.output, first); err == nil && string(first) != greeting {
		err = errors.New("it is another version")
	}
	if err != nil {
		p.kill()
		return nil, errors.Join(err, command.Wait())
	}
	return p, nil
}

// executable returns the path of this program, even if its file was replaced since it was
// started.
func executable() (string, error) {
	const self = "/proc/self/exe"
	if _, err := os.Stat(self); err == nil {
		return self, nil
	}
	return os.Executable()
}

func (p *process) kill() { _ = p.command.Process.Kill() }

// ask returns the sum that a request asks for, or false if the process ends before. It sets
// the number of the request.
func (p *process) ask(request []byte) ([]byte, bool) {
	limit := time.AfterFunc(longestHash, p.kill)
	defer limit.Stop()
	sum := make(chan []byte, 1)
	p.mu.Lock()
	p.last++
	p.waiting[p.last] = sum
	binary.BigEndian.PutUint64(request[4:], p.last)
	_, err := p.input.Write(request)
	p.mu.Unlock()
	if err != nil {
		p.kill()
	}
	select {
	case s := <-sum:
		return s, true
	case <-p.ended:
		return nil, false
	}
}

// receive hands out the sums until the process ends.
func (p *process) receive() error {
	defer close(p.reaped)
	for {
		id, sum, err := readResponse(p.output)
		if err != nil {
			break
		}
		p.mu.Lock()
		if waiting, ok := p.waiting[id]; ok {
			delete(p.waiting, id)
			waiting <- sum
		}
		p.mu.Unlock()
	}
	close(p.ended)
	p.kill()
	return p.command.Wait()
}

// lineLog writes what the process reports to the log.
type lineLog struct{ log *slog.Logger }

func (l lineLog) Write(text []byte) (int, error) {
	const most = 1000
	shown := bytes.TrimSpace(text)
	l.log.Warn("the process that hashes passwords reports", "text", string(shown[:min(len(shown), most)]))
	return len(text), nil
}
