// Package replicatest proves what the states of many hosts are for: keepers that
// share one use one session, one guard and one rotation, even if some of them die.
package replicatest

import (
	"testing"
	"time"

	"github.com/latchkey/latchkey/keeper/internal/sharedstate"
)

// Store holds a Store over an empty place to what sharedstate says of one. Its
// lease is given for an hour, so that no clock decides; expire ends one.
func Store(t *testing.T, store sharedstate.Store, expire func()) {
	t.Helper()
	s := storeSuite{t, store}
	s.take("one", 1)
	s.take("one", 1) // whose answer was lost
	s.take("other", 0)
	s.save("one", 2, "first", true)
	s.save("one", 2, "first", true)
	s.save("other", 3, "stolen", false)
	s.extend("other", time.Hour, false)
	s.extend("other", 0, false)
	s.save("one", 4, "second", true)
	s.save("one", 3, "late", false)
	s.take("one", 4)
	s.extend("one", time.Hour, true)
	s.take("other", 0)
	s.want("second")
	expire()
	s.save("one", 5, "third", true) // because no other holder has it
	s.take("other", 0)
	expire()
	s.extend("one", time.Hour, true)
	s.take("other", 0)
	expire()
	s.take("other", 6)
	s.take("one", 0)
	s.save("one", 9, "late", false)
	s.extend("one", time.Hour, false)
	s.extend("one", 0, false)
	s.want("third")
	s.extend("other", 0, true)
	s.extend("other", 0, false)
	s.save("other", 9, "late", false)
	s.want("third")
	s.take("one", 7)
}

type storeSuite struct {
	*testing.T
	store sharedstate.Store
}

func (s storeSuite) take(holder string, want int64) {
	s.Helper()
	if epoch, err := s.store.Take(s.Context(), holder, time.Hour); err != nil || epoch != want {
		s.Errorf("Take by %s returned epoch %d, %v, want %d", holder, epoch, err, want)
	}
}

func (s storeSuite) save(holder string, epoch int64, text string, want bool) {
	s.Helper()
	claim := sharedstate.Claim{Holder: holder, Epoch: epoch}
	if ours, err := s.store.Save(s.Context(), claim, []byte(text), time.Hour); err != nil || ours != want {
		s.Errorf("Save by %s in epoch %d returned %v, %v, want %v", holder, epoch, ours, err, want)
	}
}

func (s storeSuite) extend(holder string, ttl time.Duration, want bool) {
	s.Helper()
	if ours, err := s.store.Extend(s.Context(), holder, ttl); err != nil || ours != want {
		s.Errorf("Extend by %s for %v returned %v, %v, want %v", holder, ttl, ours, err, want)
	}
}

func (s storeSuite) want(text string) {
	s.Helper()
	if row, err := s.store.Load(s.Context()); err != nil || string(row.Sealed) != text {
		s.Errorf("Load returned %q, %v, want %q", row.Sealed, err, text)
	}
}
