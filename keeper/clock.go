package keeper

import (
	"sync"
	"time"

	"github.com/latchkey/latchkey/keeper/internal/ledger"
)

// clocked is an Upstream with a clock of its own, as *latchkey.Client is. Clock
// returns nil if that is the system's.
type clocked interface{ Clock() func() time.Time }

// clockOf returns the clock of a Keeper, and whether it differs from the system's. Timers
// run by the system's clock, so with another clock each request compares the time itself.
func clockOf(config Config) (now func() time.Time, foreign bool) {
	if config.Now != nil {
		return config.Now, true
	}
	if upstream, ok := config.Upstream.(clocked); ok {
		if now = upstream.Clock(); now != nil {
			return now, true
		}
	}
	return time.Now, false
}

// stamp is the time at which a wait in memory begins, by the Keeper's clock, which may be
// put back, and by the system's.
type stamp struct{ at, system time.Time }

func stampOf(now time.Time) stamp { return stamp{now, time.Now()} }

// since returns how much time has passed until now, by the clock that has moved more.
func (s *stamp) since(now time.Time) time.Duration {
	s.at = ledger.NotAfter(s.at, now)
	return max(ledger.Since(s.at, now), time.Since(s.system))
}

// alarm is a time at which something has to be done once.
type alarm struct {
	mu    sync.Mutex // guards what follows
	from  time.Time
	after time.Duration // 0: not set
}

func (a *alarm) set(now time.Time, after time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.from, a.after = now, after
}

// due reports whether the time has come. If it has, the alarm is no longer set.
func (a *alarm) due(now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.from = ledger.NotAfter(a.from, now)
	if a.after == 0 || ledger.Since(a.from, now) < a.after {
		return false
	}
	a.after = 0
	return true
}
