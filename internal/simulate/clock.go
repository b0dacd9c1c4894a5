package simulate

import (
	"sync/atomic"
	"time"
)

// clock runs with the machine's, or stands still, and can be moved ahead.
type clock struct {
	base  func() time.Time
	ahead atomic.Int64
}

func newClock(start time.Time) *clock {
	if start.IsZero() {
		return &clock{base: time.Now}
	}
	return &clock{base: func() time.Time { return start }}
}

func (c *clock) now() time.Time { return c.base().Add(time.Duration(c.ahead.Load())) }

func (c *clock) advance(d time.Duration) { c.ahead.Add(int64(d)) }
