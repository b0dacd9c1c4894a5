package cli

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	// maxLogWaiting bounds the bytes of the log that wait for their reader.
	maxLogWaiting = 256 << 10
	// logPatience is what the reader is given at the end for what still waits.
	logPatience = 2 * time.Second
)

// logQueue is a writer that never makes its callers wait. A goroutine hands on what is
// written. What finds no room, because nobody reads, is dropped and counted, and the log
// says so once it is read again. The crash of a program does not go this way: the
// runtime writes that itself.
type logQueue struct {
	to      io.Writer
	direct  *slog.Logger // writes to to
	dropped atomic.Int64 // lines
	done    chan struct{}

	mu      sync.Mutex
	more    sync.Cond // something waits, or closed is set
	waiting [][]byte
	bytes   int
	closed  bool
}

// newLogQueue makes a queue in front of to. direct is a log in the same form that
// writes to to itself.
func newLogQueue(to io.Writer, direct *slog.Logger) *logQueue {
	q := &logQueue{to: to, direct: direct, done: make(chan struct{})}
	q.more.L = &q.mu
	go q.run()
	return q
}

// Write implements io.Writer. It never fails.
func (q *logQueue) Write(text []byte) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.bytes+len(text) > maxLogWaiting || q.closed {
		q.dropped.Add(lines(text))
		return len(text), nil
	}
	q.bytes += len(text)
	q.waiting = append(q.waiting, bytes.Clone(text))
	q.more.Signal()
	return len(text), nil
}

// run writes until the queue is closed and empty.
func (q *logQueue) run() {
	defer close(q.done)
	told := int64(0)
	for {
		text, ok := q.next()
		if !ok {
			return
		}
		if _, err := q.to.Write(text); err != nil {
			q.dropped.Add(lines(text))
			continue
		}
		q.mu.Lock()
		q.bytes -= len(text) // only now, because it waited until now
		q.mu.Unlock()
		if lost := q.dropped.Load(); lost > told {
			q.direct.Warn(fmt.Sprintf("%s dropped, because the log was not read", were(lost-told, "log line")))
			told = lost
		}
	}
}

// next waits for what is next to be written.
func (q *logQueue) next() ([]byte, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.waiting) == 0 && !q.closed {
		q.more.Wait()
	}
	if len(q.waiting) == 0 {
		return nil, false
	}
	text := q.waiting[0]
	q.waiting[0] = nil
	q.waiting = q.waiting[1:]
	return text, true
}

// close writes what waits, as long as somebody reads it.
func (q *logQueue) close() {
	q.mu.Lock()
	q.closed = true
	q.more.Signal()
	q.mu.Unlock()
	select {
	case <-q.done:
	case <-time.After(logPatience):
	}
}

// metric shows how many lines were dropped.
func (q *logQueue) metric() prometheus.Collector {
	return prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "latchkey_log_dropped_total",
		Help: "Lines of the log that were dropped, because nobody read it or it could not be written.",
	}, func() float64 { return float64(q.dropped.Load()) })
}

func lines(text []byte) int64 { return int64(max(1, bytes.Count(text, []byte{'\n'}))) }

// were says "1 line was" or "2 lines were".
func were(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun + " was"
	}
	return fmt.Sprintf("%d %ss were", n, noun)
}
