package gateway

import (
	"sync/atomic"
	"time"
)

// progress watches the steps of one direction of a transfer, such as a read or a write,
// one after the other.
type progress struct {
	count atomic.Int64
	limit atomic.Int64 // of the current step, in nanoseconds; 0 for none

	seen    int64 // count, as of the last tick
	stalled time.Duration
}

// begin begins a step.
func (p *progress) begin(limit time.Duration) {
	p.limit.Store(int64(limit))
	p.count.Add(1)
}

// overdue reports whether the current step has exceeded its limit. It is called once a
// tick.
func (p *progress) overdue(tick time.Duration) bool {
	if count := p.count.Load(); count != p.seen {
		p.seen, p.stalled = count, 0
		return false
	}
	p.stalled += tick
	limit := time.Duration(p.limit.Load())
	return limit > 0 && p.stalled >= limit
}
