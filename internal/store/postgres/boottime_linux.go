package postgres

import (
	"time"

	"golang.org/x/sys/unix"
)

// bootTime returns the time since the machine started, which goes on while the machine
// is suspended. Go's own monotonic clock stands still then.
func bootTime() time.Duration {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		panic("the kernel has no CLOCK_BOOTTIME: " + err.Error()) // it has since Linux 2.6.39
	}
	return time.Duration(now.Nano())
}
