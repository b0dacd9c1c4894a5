package simulate

import (
	"fmt"
	"sync"
	"time"
)

// The bounds of the clock: of one step, of all steps together, and of the year, beyond
// which times cannot be written as JSON.
const (
	maxAdvance = 10 * 365 * 24 * time.Hour
	maxAhead   = 100 * 365 * 24 * time.Hour
	maxYear    = 9990
)

// clock runs with the machine's, or stands still, and can be moved ahead. It never goes
// back.
type clock struct {
	mu    sync.RWMutex
	still time.Time     // where it stands; zero if it runs
	ahead time.Duration // of the machine's clock, while it runs
	moved time.Duration // by how much it was moved altogether
}

// newClock returns a clock that stands at start, or one that runs if start is zero.
func newClock(start time.Time) *clock { return &clock{still: start} }

func (c *clock) now() time.Time {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.locked()
}

func (c *clock) locked() time.Time {
	if !c.still.IsZero() {
		return c.still
	}
	return time.Now().Add(c.ahead)
}

func (c *clock) standing() bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return !c.still.IsZero()
}

// stand makes the clock stand still where it is, or go on from there.
func (c *clock) stand(still bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch now := c.locked(); {
	case still == !c.still.IsZero():
	case still:
		c.still = now.Round(0) // without the reading that goes on
	default:
		c.still, c.ahead = time.Time{}, time.Until(now)
	}
}

func (c *clock) advance(d time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case d <= 0 || d > maxAdvance:
		return fmt.Errorf("the clock can be moved ahead by up to %v, not by %v", maxAdvance, d)
	case d > maxAhead-c.moved, c.locked().Add(d).Year() > maxYear:
		return fmt.Errorf("the clock was moved ahead by %v already; with another %v it would be out of bounds: start the "+
			"service again", c.moved, d)
	}
	c.moved += d
	if c.still.IsZero() {
		c.ahead += d
	} else {
		c.still = c.still.Add(d)
	}
	return nil
}
