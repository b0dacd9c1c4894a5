package keeper

import (
	"sync"
	"time"
)

// clocked is an Upstream with a clock of its own, as *latchkey.Client is. Clock
// returns nil if that is the system's.
type clocked interface{ Clock() func() time.Time }

// clockOf returns the clock of a Keeper, and whether it is another one than the
// system's. Timers run by the system's clock, so that with another one each
// request compares the time itself.
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

// since returns how much time has passed between t and now, and never less than
// zero: a time that lies in the future comes from a clock that was put back, and
// counts as now. Where both are known, the greater of two clocks decides: the
// wall clock, which goes on while the machine sleeps, and the monotonic one, which
// cannot be put back.
func since(t, now time.Time) time.Duration {
	return max(now.Sub(t), now.Round(0).Sub(t.Round(0)), 0)
}

// past returns t, or now if t lies in the future. What is kept of such a time must
// be replaced by it; otherwise it would count as now again and again.
func past(t, now time.Time) time.Time {
	if t.After(now) {
		return now
	}
	return t
}

// stamp is a moment that a wait in memory begins at. The system's clock counts beside
// the Keeper's, which may be put back while nobody looks.
type stamp struct{ at, system time.Time }

func stampOf(now time.Time) stamp { return stamp{now, time.Now()} }

// since returns how much time has passed until now, by the clock that has moved more.
func (s *stamp) since(now time.Time) time.Duration {
	s.at = past(s.at, now)
	return max(since(s.at, now), time.Since(s.system))
}

// correct replaces every time that lies in the future by now, and reports whether
// there was one. Rotation.Begun stays, because it identifies the rotation, and no
// wait depends on it.
func (r *record) correct(now time.Time) (changed bool) {
	var times []*time.Time
	if r.Session != nil {
		times = append(times, &r.Session.Created)
	}
	if r.Attempt != nil {
		times = append(times, &r.Attempt.At)
	}
	for i := range r.Accounts {
		a := &r.Accounts[i]
		times = append(times, &a.Since)
		for j := range a.Refused {
			times = append(times, &a.Refused[j].At)
		}
	}
	if r.Rotation != nil {
		times = append(times, &r.Rotation.ProbedAt, &r.Rotation.ProvenAt)
	}
	if r.Password != nil {
		times = append(times, &r.Password.Since)
	}
	for _, t := range times {
		if t.After(now) {
			*t, changed = now, true
		}
	}
	return changed
}

// touchSlack is how far the clocks may differ of those who touch a State.
const touchSlack = time.Minute

// supersedes reports whether a State replaces the recorded last use by at, as
// State.Touch says.
func supersedes(at, recorded, now time.Time) bool {
	return at.After(recorded) || recorded.Sub(now) > touchSlack && now.Sub(at).Abs() <= touchSlack
}

// alarm is a time at which something is to be done once.
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

// due reports whether the time has come, and then ends the alarm.
func (a *alarm) due(now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.from = past(a.from, now)
	if a.after == 0 || since(a.from, now) < a.after {
		return false
	}
	a.after = 0
	return true
}
