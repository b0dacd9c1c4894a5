package postgres

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/latchkey/latchkey/internal/store"
)

// clockEvery is how often the database is asked for the time, and clockDrift how far two
// correct clocks drift apart in a second.
const (
	clockEvery = 10 * time.Second
	clockDrift = 100e-6
)

// serverClock returns the database's time, computed from this machine's clock and the offset
// between the two. So replicas whose own clocks differ agree, to within a round trip to the
// database, and setting the clock of a replica changes nothing.
type serverClock struct {
	local func() time.Time
	best  atomic.Pointer[reading]
}

// reading is a reading of both clocks.
type reading struct {
	local  time.Time // with the monotonic reading, if the clock has one
	server time.Time
	within time.Duration // how wrong the pair may be
}

func newServerClock(local func() time.Time) *serverClock {
	if local == nil {
		local = time.Now
	}
	return &serverClock{local: local}
}

// now returns the database's time.
func (c *serverClock) now() time.Time {
	r := c.best.Load()
	return r.server.Add(c.local().Sub(r.local))
}

// sync reads both clocks. A slow reading is inexact, and replaces a better one only if both
// cannot be right: then one of the clocks was set.
func (c *serverClock) sync(ctx context.Context, ask func(context.Context) (time.Time, error)) error {
	before := c.local()
	server, err := ask(ctx)
	if err != nil {
		return err
	}
	half := c.local().Sub(before) / 2
	r := &reading{local: before.Add(half), server: server, within: half}
	if old := c.best.Load(); old != nil {
		apart := r.server.Sub(old.server.Add(r.local.Sub(old.local))).Abs()
		aged := old.within + time.Duration(float64(r.local.Sub(old.local))*clockDrift)
		if r.within > aged && apart <= aged+r.within {
			return nil
		}
	}
	c.best.Store(r)
	return nil
}

// follow reads both clocks regularly, until ctx ends.
func (c *serverClock) follow(ctx context.Context, ask func(context.Context) (time.Time, error)) {
	tick := time.NewTicker(clockEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			// While the database is unavailable, the last reading stays valid.
			_ = c.sync(ctx, ask)
		case <-ctx.Done():
			return
		}
	}
}

// Now returns the time by the database's clock, which all replicas share.
func (db *DB) Now() time.Time { return db.clock.now() }

func (db *DB) askTime(ctx context.Context) (time.Time, error) {
	var us int64
	err := db.engine.Query(ctx, func(r store.Row) error { return r.Scan(&us) }, `SELECT `+nowMicros)
	return time.UnixMicro(us).UTC(), err
}
