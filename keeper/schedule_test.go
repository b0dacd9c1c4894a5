package keeper_test

import (
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey/latchkey/credential"
	"github.com/latchkey/latchkey/keeper"
)

const day = 24 * time.Hour

func newStore(t *testing.T, dir string) *credential.File {
	t.Helper()
	store, err := credential.NewFile(credential.FileConfig{Path: filepath.Join(dir, "credential")})
	if err == nil {
		_, err = store.Save(t.Context(), credential.Credential{User: "zbeeblebrox", Password: "right"})
	}
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// durable is a State that outlasts programs, as far as a Keeper can know. A
// FileState would not do: the file system keeps another time than the bubble.
type durable struct{ *keeper.MemoryState }

func (durable) Durable() bool { return true }

func newDurable() keeper.State { return durable{keeper.NewMemoryState()} }

// Three replicas rotate every 90 days, once, a little early, automatically.
func TestRotateEveryRotatesOnceForAllReplicas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, store, state := newModel(), newStore(t, t.TempDir()), newDurable()
		var replicas []*keeper.Keeper
		for range 3 {
			replicas = append(replicas, newKeeper(t, m, keeper.Config{
				State: state, Rotation: &keeper.Rotation{Store: store, Every: 90 * day},
			}))
		}
		began := time.Now()
		get(replicas[0].Transport(m)).ok(t)
		status, err := replicas[1].Status(t.Context())
		if err != nil || status.PasswordSince.Before(began) || status.PasswordMade {
			t.Errorf("status %+v, error %v", status, err)
		}
		if early := began.Add(90 * day).Sub(status.RotateAt); early < 0 || early > 9*day+time.Minute {
			t.Errorf("the rotation is due %v before its time, want up to nine days", early)
		}
		last := began
		for n := 1; n <= 4; n++ {
			pass(time.Until(last.Add(91 * day)))
			if len(m.resets) != n {
				t.Fatalf("%d resets after %d times 91 days", len(m.resets), n)
			}
			if gap := m.resets[n-1].Sub(last); gap < 81*day-time.Minute || gap > 90*day+2*time.Hour {
				t.Errorf("reset %d came after %v", n, gap)
			}
			last = m.resets[n-1]
			for _, k := range replicas {
				get(k.Transport(m)).ok(t)
			}
		}
		if m.maxStrikes != 0 {
			t.Errorf("%d strikes", m.maxStrikes)
		}
	})
}

func TestAnOldPasswordIsWarnedOfOnceADay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newModel()
		k := newKeeper(t, m, keeper.Config{OnEvent: func(e keeper.Event) {
			if e.Kind == keeper.EventPasswordOld {
				if !strings.Contains(e.Err.Error(), "days old") {
					t.Errorf("the warning says %v", e.Err)
				}
			}
		}})
		get(k.Transport(m)).ok(t)
		pass(79 * day)
		warnings := func() uint64 { return k.Stats()[keeper.EventPasswordOld] }
		if warnings() != 0 {
			t.Error("it was warned of before day 80")
		}
		pass(4*day + 2*time.Hour)
		if n := warnings(); n < 3 || n > 5 {
			t.Errorf("%d warnings in four days, want one a day", n)
		}
	})
}

// A scheduled rotation that cannot be made is tried again later, and harms nothing.
func TestAScheduledRotationThatFailsIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, store := newModel(), &faultyStore{Store: newStore(t, t.TempDir())}
		k := newKeeper(t, m, keeper.Config{State: newDurable(), Rotation: &keeper.Rotation{Store: store, Every: 10 * day}})
		get(k.Transport(m)).ok(t)
		store.fail(func(credential.Credential) (string, error) { return "", errDiskFull })
		pass(11 * day)
		if stats := k.Stats(); len(m.resets) != 0 || stats[keeper.EventRotationFailed] < 10 {
			t.Errorf("%d resets and %d failures, want none and many", len(m.resets), stats[keeper.EventRotationFailed])
		}
		store.fail(nil)
		pass(2 * time.Hour)
		if len(m.resets) != 1 {
			t.Errorf("%d resets, want one", len(m.resets))
		}
		get(k.Transport(m)).ok(t)
	})
}

func TestRotateEveryIsJudged(t *testing.T) {
	store, client := newStore(t, t.TempDir()), newClient(t, newModel())
	for name, config := range map[string]keeper.Config{
		"too often": {State: newDurable(), Rotation: &keeper.Rotation{Every: time.Minute, Store: store,
			Upstream: client}},
		"nowhere to save": {State: newDurable(), Rotation: &keeper.Rotation{Every: day, Upstream: client}},
		"state in memory": {State: keeper.NewMemoryState(), Rotation: &keeper.Rotation{Every: day, Store: store,
			Upstream: client}},
	} {
		config.Upstream = client
		if k, err := keeper.New(config); err == nil {
			t.Errorf("%s: was accepted", name)
			closeKeeper(t, k)
		}
	}
}
