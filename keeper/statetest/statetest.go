// Package statetest tests an implementation of keeper.State. Every state of latchkey passes
// it. Run it for a State of your own:
//
//	statetest.Run(t, func(t *testing.T) statetest.Place { … })
package statetest

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/keeper"
)

// Place is an empty place for one state.
type Place struct {
	// Open returns a State over the place: a new one for each call, as other processes
	// would have, unless the state lasts as long as the program.
	Open func() keeper.State
	// Lose makes the holder of the lease lose it, as a process that was paused for too long
	// would. Nil if a holder cannot lose the lease and live.
	Lose func()
	// Spoil makes the saved data unusable, from outside of the State, each call in another
	// way, until it returns false. Nil if that is not possible.
	Spoil func() bool
}

const (
	first  = latchkey.Secret("first-Wh0a1545a84d")
	second = latchkey.Secret("second-Gr8tBigS3cret")
	third  = latchkey.Secret("third-IMgr8AndSoAmI")
)

// suite is a Place under test.
type suite struct {
	Place
	*testing.T
}

// Run runs every case, each on a place of its own.
func Run(t *testing.T, newPlace func(t *testing.T) Place) {
	cases := map[string]func(s suite){
		"an empty place has nothing":                 suite.empty,
		"what is saved is loaded":                    suite.saves,
		"the last use only grows":                    suite.touches,
		"a last use in the future is replaced":       suite.ahead,
		"a save and a touch are independent":         suite.apart,
		"one at a time holds the lease":              suite.excludes,
		"the lease outlives the caller's ctx":        suite.outlives,
		"a wait for the lease can be canceled":       suite.leaves,
		"loading does not wait for the lease":        suite.reads,
		"no print shows what is saved":               suite.silent,
		"a lost lease saves nothing":                 suite.fences,
		"an unusable state is an error, and is kept": suite.spoiled,
		"a released lease is soon given again":       suite.passesOn,
	}
	for name, run := range cases {
		t.Run(name, func(t *testing.T) { run(suite{newPlace(t), t}) })
	}
}

// acquire returns the lease. It gives up after a minute.
func (s suite) acquire(state keeper.State) keeper.Lease {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), time.Minute)
	defer cancel()
	lease, err := state.Acquire(ctx)
	if err != nil {
		s.Fatalf("Acquire: %v", err)
	}
	return lease
}

func (s suite) release(lease keeper.Lease) {
	s.Helper()
	if err := lease.Release(s.Context()); err != nil {
		s.Errorf("Release: %v", err)
	}
}

func (s suite) save(lease keeper.Lease, data latchkey.Secret) {
	s.Helper()
	if err := lease.Save(s.Context(), data); err != nil {
		s.Fatalf("Save: %v", err)
	}
}

// put saves under a lease of its own.
func (s suite) put(state keeper.State, data latchkey.Secret) {
	s.Helper()
	lease := s.acquire(state)
	s.save(lease, data)
	s.release(lease)
}

func (s suite) load(state keeper.State) keeper.Saved {
	s.Helper()
	saved, err := state.Load(s.Context())
	if err != nil {
		s.Fatalf("Load: %v", err)
	}
	return saved
}

func (s suite) want(state keeper.State, data latchkey.Secret) {
	s.Helper()
	if saved := s.load(state); !saved.Data.Equal(data) {
		s.Errorf("Load returned %d bytes that were not saved last", len(saved.Data))
	}
}

// mustBeHeld checks that the lease cannot be acquired for a while.
func (s suite) mustBeHeld() {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), 300*time.Millisecond)
	defer cancel()
	if lease, err := s.Open().Acquire(ctx); err == nil {
		s.Error("a second holder got the lease")
		s.release(lease)
	}
}

func (s suite) empty() {
	if saved := s.load(s.Open()); saved.Data != "" || !saved.LastUse.IsZero() {
		s.Errorf("an empty place has %d bytes, last used %v", len(saved.Data), saved.LastUse)
	}
	lease := s.acquire(s.Open())
	s.release(lease) // without a save
	s.want(s.Open(), "")
}

func (s suite) saves() {
	state := s.Open()
	lease := s.acquire(state)
	for _, data := range []latchkey.Secret{
		first, second, first, first, "", `{"quoted":"\u2028<\>&"}`, " gr\u00fc\u00df \U0001f511\n\x00 ",
		latchkey.Secret(strings.Repeat("long ", 20_000)),
	} {
		s.save(lease, data)
		s.want(state, data)
		s.want(s.Open(), data)
	}
	s.release(lease)
	s.put(s.Open(), third)
	s.want(state, third)
}

func (s suite) touches() {
	state := s.Open()
	s.put(state, first)
	last := time.Now().Add(time.Hour).Truncate(time.Millisecond)
	touch := func(state keeper.State, at time.Time) {
		if err := state.Touch(s.Context(), at); err != nil {
			s.Errorf("Touch: %v", err)
		}
	}
	want := func(at time.Time) {
		s.Helper()
		if used := s.load(s.Open()).LastUse; !used.Equal(at) {
			s.Errorf("last used at %v, want %v", used, at)
		}
	}
	touch(state, last)
	want(last)
	touch(s.Open(), last.Add(-time.Minute))
	touch(s.Open(), last)
	touch(s.Open(), time.Time{})
	want(last)
	touch(s.Open(), last.Add(time.Minute))
	want(last.Add(time.Minute))
	lease := s.acquire(s.Open()) // which touching does not need
	touch(state, last.Add(time.Hour))
	want(last.Add(time.Hour))
	s.release(lease)
}

// ahead touches by a clock that is ahead, and then by one that was put right.
func (s suite) ahead() {
	state := s.Open()
	s.put(state, first)
	for _, by := range []time.Duration{time.Hour, 20 * 365 * 24 * time.Hour} {
		future := time.Now().Add(by).Truncate(time.Millisecond)
		for _, step := range []struct{ at, want time.Time }{
			{future, future},
			{future.Add(-by / 2), future}, // is in the future as well
			{future.Add(-2 * by), future}, // is late
			{time.Time{}, future},
			{future.Add(-by), future.Add(-by)},
			{future.Add(-by - time.Second), future.Add(-by)},
			{future.Add(time.Second - by), future.Add(time.Second - by)},
		} {
			if err := state.Touch(s.Context(), step.at); err != nil {
				s.Errorf("Touch: %v", err)
			}
			if used := s.load(s.Open()).LastUse; !used.Equal(step.want) {
				s.Errorf("%v ahead: last used at %v after a touch of %v, want %v", by, used, step.at, step.want)
			}
		}
	}
}

func (s suite) apart() {
	state := s.Open()
	lease := s.acquire(state)
	s.save(lease, first)
	at := time.Now().Add(time.Hour).Truncate(time.Millisecond)
	if err := state.Touch(s.Context(), at); err != nil {
		s.Errorf("Touch: %v", err)
	}
	s.want(state, first)
	s.save(lease, second)
	s.release(lease)
	if saved := s.load(s.Open()); !saved.LastUse.Equal(at) || !saved.Data.Equal(second) {
		s.Errorf("after a touch and a save, last used at %v, want %v", saved.LastUse, at)
	}
}

// excludes makes twenty contenders count under the lease, over four States.
func (s suite) excludes() {
	const states, each = 4, 5
	var holders atomic.Int64
	var contenders sync.WaitGroup
	count := func(state keeper.State) error {
		lease, err := state.Acquire(s.Context())
		if err != nil {
			return err
		}
		if n := holders.Add(1); n != 1 {
			s.Errorf("%d hold the lease at once", n)
		}
		saved, err := state.Load(s.Context())
		if err == nil {
			n, _ := strconv.Atoi(saved.Data.Reveal())
			err = lease.Save(s.Context(), latchkey.Secret(strconv.Itoa(n+1)))
		}
		holders.Add(-1)
		return errors.Join(err, lease.Release(s.Context()))
	}
	for range states {
		state := s.Open()
		for range each {
			contenders.Go(func() {
				if err := count(state); err != nil {
					s.Error(err)
				}
			})
		}
	}
	contenders.Wait()
	s.want(s.Open(), latchkey.Secret(strconv.Itoa(states*each)))
}

func (s suite) outlives() {
	ctx, cancel := context.WithCancel(s.Context())
	lease, err := s.Open().Acquire(ctx)
	if err != nil {
		s.Fatalf("Acquire: %v", err)
	}
	cancel()
	s.mustBeHeld()
	s.save(lease, first)
	s.release(lease)
	s.want(s.Open(), first)
}

func (s suite) leaves() {
	lease := s.acquire(s.Open())
	waiting := s.Open()
	reason := errors.New("statetest: the caller leaves")
	ctx, cancel := context.WithCancelCause(s.Context())
	result := make(chan error)
	go func() {
		second, err := waiting.Acquire(ctx)
		if err == nil {
			err = errors.Join(errors.New("statetest: it got the lease"), second.Release(context.WithoutCancel(ctx)))
		}
		result <- err
	}()
	select {
	case err := <-result:
		s.Fatalf("the wait for the lease ended with %v", err)
	case <-time.After(200 * time.Millisecond):
	}
	cancel(reason)
	select {
	case err := <-result:
		if !errors.Is(err, reason) {
			s.Errorf("a canceled wait ended with %v, want the cause", err)
		}
	case <-time.After(10 * time.Second):
		s.Fatal("a canceled wait does not end")
	}
	s.save(lease, first)
	s.release(lease)
	s.put(s.Open(), second)
}

func (s suite) reads() {
	s.put(s.Open(), first)
	lease := s.acquire(s.Open())
	ctx, cancel := context.WithTimeout(s.Context(), 10*time.Second)
	defer cancel()
	for range 3 {
		if saved, err := s.Open().Load(ctx); err != nil || !saved.Data.Equal(first) {
			s.Errorf("Load while the lease is held: %v", err)
		}
	}
	s.release(lease)
}

func (s suite) silent() {
	state := s.Open()
	lease := s.acquire(state)
	s.save(lease, first)
	saved := s.load(state)
	for _, shown := range []any{state, lease, saved} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
			if text := fmt.Sprintf(verb, shown); strings.Contains(text, first.Reveal()) {
				s.Errorf("%s of a %T shows what is saved", verb, shown)
			}
		}
	}
	s.release(lease)
}

func (s suite) fences() {
	if s.Lose == nil {
		s.Skip("the lease cannot be lost")
	}
	s.put(s.Open(), first)
	late := s.acquire(s.Open())
	s.Lose()
	other := s.acquire(s.Open())
	s.save(other, second)
	for range 2 {
		if err := late.Save(s.Context(), third); !errors.Is(err, keeper.ErrLeaseLost) {
			s.Errorf("saving under a lost lease: %v, want ErrLeaseLost", err)
		}
		s.want(s.Open(), second)
	}
	_ = late.Release(s.Context()) // with or without an error
	s.save(other, first)
	s.mustBeHeld()
	s.release(other)
	s.want(s.Open(), first)
}

// spoiled checks that each method returns an error, and that the data is kept: if it were
// overwritten, the next call would succeed.
func (s suite) spoiled() {
	if s.Spoil == nil {
		s.Skip("the state cannot be spoiled")
	}
	state := s.Open()
	s.put(state, first)
	for s.Spoil() {
		for range 2 {
			saved, loadErr := state.Load(s.Context())
			if loadErr == nil || saved.Data != "" {
				s.Errorf("Load returned %d bytes and the error %v", len(saved.Data), loadErr)
			}
			lease, acquireErr := state.Acquire(s.Context())
			if acquireErr == nil {
				s.Error("Acquire returned a lease to overwrite it")
				s.release(lease)
			}
			if text := fmt.Sprint(loadErr, acquireErr); strings.Contains(text, first.Reveal()) {
				s.Error("an error shows what was saved")
			}
		}
	}
}

func (s suite) passesOn() {
	state := s.Open()
	begun := time.Now()
	for range 5 {
		s.put(state, first)
		s.put(s.Open(), second)
	}
	if took := time.Since(begun); took > 5*time.Second {
		s.Errorf("ten leases took %v, although none was held for long", took)
	}
}
