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
	// maxLogWaiting bounds the bytes of the log that wait to be written.
	maxLogWaiting = 256 << 10
	// logPatience bounds the wait at the end for lines that are not written yet.
	logPatience = 2 * time.Second
)

// logQueue is a writer that never blocks its callers. A goroutine writes what they pass
// in. Lines for which there is no room, because the log is not read, are dropped and
// counted, and the log reports the count once it is read again. The trace of a crash does
// not pass through the queue, because the runtime writes it directly.
type logQueue struct {
	to      io.Writer
	direct  *slog.Logger // writes to the field to
	dropped atomic.Int64 // lines
	done    chan struct{}

	mu      sync.Mutex
	more    sync.Cond // signals that waiting is not empty or closed is set
	waiting [][]byte
	bytes   int
	closed  bool
}

// newLogQueue returns a queue in front of the writer to. direct is a log of the same
// format that writes to it without the queue.
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
		q.bytes -= len(text) // after the write, because it waited until then
		q.mu.Unlock()
		if lost := q.dropped.Load(); lost > told {
			q.direct.Warn(fmt.Sprintf("%s dropped, because the log was not read", were(lost-told, "log line")))
			told = lost
		}
	}
}

// next waits for the next text to write.
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

// close writes what waits, for at most logPatience.
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

// metric returns the counter of dropped lines.
func (q *logQueue) metric() prometheus.Collector {
	return prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "latchkey_log_dropped_total",
		Help: "Lines of the log that were dropped because the log was not read or could not be written.",
	}, func() float64 { return float64(q.dropped.Load()) })
}

func lines(text []byte) int64 { return int64(max(1, bytes.Count(text, []byte{'\n'}))) }

// were returns "1 line was" or "2 lines were".
func were(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun + " was"
	}
	return fmt.Sprintf("%d %ss were", n, noun)
}
