//go:build !linux

package postgres

import (
	"sync/atomic"
	"time"
)

var (
	processStart = time.Now()
	suspended    atomic.Int64 // how far the wall clock was ahead of the monotonic one at most, in nanoseconds
)

// bootTime returns the time since the process started, by the monotonic clock and
// ahead of that by whatever the wall clock has jumped ahead: where the monotonic clock
// stands still while the machine is suspended, the wall clock does not. It never goes
// back. A wall clock that is set ahead only makes it advance too far.
func bootTime() time.Duration {
	now := time.Now()
	monotonic := now.Sub(processStart)
	jumped := int64(now.Round(0).Sub(processStart.Round(0)) - monotonic)
	for {
		known := suspended.Load()
		if jumped <= known {
			return monotonic + time.Duration(known)
		}
		if suspended.CompareAndSwap(known, jumped) {
			return monotonic + time.Duration(jumped)
		}
	}
}
