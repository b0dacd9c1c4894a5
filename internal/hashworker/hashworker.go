// Package hashworker hashes passwords in a process of its own, which runs this program again
// with the lowest priority: neither its use of the processor nor its garbage delays what the
// service does beside it. If the process cannot be used or is late, the service hashes in its own.
//
// Main makes a program usable as the process. The passwords go through a pipe alone.
package hashworker

import (
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/latchkey/latchkey/internal/authority"
)

const (
	// A sum is late after leastPatience plus patienceFactor times what it takes alone on a core,
	// which is about quickPass for each pass over a MiB.
	leastPatience  = time.Second
	patienceFactor = 10
	quickPass      = 420 * time.Microsecond
	// lostFactor is after how many times that a process without a response is ended.
	lostFactor   = 50
	lateLogEvery = time.Minute
	// longestStart bounds the wait for a process that starts, and longestEnd for one that ends.
	longestStart = 15 * time.Second
	longestEnd   = 5 * time.Second
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

	nextLateLog time.Time
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
// started, ends before that, or is late.
func (w *Worker) Sum(p authority.HashParams, password, salt []byte, size uint32) []byte {
	if request, ok := encodeRequest(p, password, salt, size); ok {
		defer clear(request)
		if running := w.running(); running != nil {
			sum, err := running.ask(request, patience(p))
			if err == nil && len(sum) == int(size) {
				return sum
			}
			if errors.Is(err, errLate) {
				w.warnOfLate()
			}
		}
	}
	return p.Sum(password, salt, size)
}

// patience returns when a sum is late.
func patience(p authority.HashParams) time.Duration {
	alone := time.Duration(p.MemoryKiB) * time.Duration(p.Passes) * quickPass / 1024
	return leastPatience + patienceFactor*alone
}

// warnOfLate logs that a sum is late, at most once in lateLogEvery.
func (w *Worker) warnOfLate() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if now := time.Now(); !w.closed && !now.Before(w.nextLateLog) {
		w.nextLateLog = now.Add(lateLogEvery)
		w.log.Warn("the process that hashes passwords is slow, because other work keeps the processor busy; " +
			"a login takes more than a second, and its password is hashed in the process of the service")
	}
}

// Close ends the process. Hashes in progress are made in this one.
func (w *Worker) Close() error {
	w.mu.Lock()
	w.closed = true
	running := w.current
	w.mu.Unlock()
	if running == nil {
		return nil
	}
	running.kill()
	select {
	case <-running.reaped:
		return nil
	case <-time.After(longestEnd):
		return errors.New("the process that hashes passwords does not end")
	}
}

// running returns the process, which it starts if none runs, or nil if that is not possible now.
func (w *Worker) running() *process {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.current == nil && !w.closed && !time.Now().Before(w.next) {
		w.current = newProcess(w.log)
		go w.watch(w.current)
	}
	return w.current
}

// watch runs the process until its end.
func (w *Worker) watch(p *process) {
	defer close(p.reaped)
	begin := time.Now()
	started, err := p.run()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.current = nil
	if w.closed {
		return
	}
	if started && time.Since(begin) >= steadyAfter {
		w.pause, w.next = 0, time.Time{}
	} else {
		w.pause = min(max(2*w.pause, shortestPause), longestPause)
		w.next = time.Now().Add(w.pause)
	}
	switch {
	case started:
		w.log.Warn("the process that hashes passwords ended; it is started again for one of the next", "error", err)
	case !w.warned:
		w.warned = true
		w.log.Warn("passwords are hashed in the process of the service, because another cannot be started; "+
			"many logins at once can delay other requests", "error", err)
	}
}
