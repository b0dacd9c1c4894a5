package server

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/latchkey/latchkey/internal/authority"
)

const (
	// auditQueueLength bounds the forwarded requests that wait to be written to the
	// audit trail, and auditBatch those of one write.
	auditQueueLength = 20_000
	auditBatch       = 200
	// auditDelay is how long events are collected for one write. A process that is
	// killed may lose those of that time.
	auditDelay = 200 * time.Millisecond
	// auditLossInterval is how often the loss of events is logged.
	auditLossInterval = 10 * time.Second
)

// auditQueue writes forwarded requests to the audit trail after their responses were
// sent. Events that find the queue full are lost. They are counted in the metrics,
// and their loss is logged.
type auditQueue struct {
	authority *authority.Authority
	log       *slog.Logger
	queue     chan authority.Event
	dropped   atomic.Int64
	loggedAt  atomic.Int64 // when a loss was last logged, in Unix nanoseconds
}

func newAuditQueue(a *authority.Authority, log *slog.Logger) *auditQueue {
	return &auditQueue{authority: a, log: log, queue: make(chan authority.Event, auditQueueLength)}
}

// add never blocks.
func (q *auditQueue) add(event authority.Event) {
	select {
	case q.queue <- event:
		return
	default:
	}
	lost := q.dropped.Add(1)
	now, last := time.Now().UnixNano(), q.loggedAt.Load()
	if now-last > int64(auditLossInterval) && q.loggedAt.CompareAndSwap(last, now) {
		q.log.Error("forwarded requests arrive faster than the audit trail can be written; some are missing from it",
			"lost", lost, "waiting", len(q.queue))
	}
}

// run writes events until ctx ends, and then those that are left.
func (q *auditQueue) run(ctx context.Context) {
	for {
		select {
		case event := <-q.queue:
			q.write(ctx, event)
		case <-ctx.Done():
			for {
				select {
				case event := <-q.queue:
					q.write(ctx, event)
				default:
					if q.authority != nil { // a simulation has its own authorities
						q.authority.Flush(context.Background())
					}
					return
				}
			}
		}
	}
}

// write waits auditDelay for more events and writes them together with first, because
// a write of many costs as much as a write of one. After ctx has ended it does not wait.
func (q *auditQueue) write(ctx context.Context, first authority.Event) {
	batch := append(make([]authority.Event, 0, 64), first)
	timer := time.NewTimer(auditDelay)
	defer timer.Stop()
	for waiting := true; waiting && len(batch) < auditBatch; {
		select {
		case event := <-q.queue:
			batch = append(batch, event)
		case <-timer.C:
			waiting = false
		case <-ctx.Done():
			waiting = len(q.queue) > 0
		}
	}
	q.authority.RecordForwarded(context.Background(), batch...)
}
