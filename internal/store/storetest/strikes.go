package storetest

import (
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/secret"
)

// setStrikes replaces the strikes of a key.
func setStrikes(t *testing.T, s authority.Stores, key authority.StrikeKey, to authority.Strikes) {
	t.Helper()
	must(t, s.Strikes.UpdateStrikes(t.Context(), key, func(now *authority.Strikes) error { *now = to; return nil }))
}

// wantStrikes compares the strikes of a key as both methods of the store return them.
func wantStrikes(t *testing.T, s authority.Stores, key authority.StrikeKey, want authority.Strikes) {
	t.Helper()
	read, err := s.Strikes.Strikes(t.Context(), key)
	must(t, err)
	stop, locked := errors.New("stop"), authority.Strikes{}
	err = s.Strikes.UpdateStrikes(t.Context(), key, func(now *authority.Strikes) error {
		locked = *now
		now.Failures = 1000
		return stop
	})
	wantError(t, err, stop)
	for what, got := range map[string]authority.Strikes{"read": read, "read for an update": locked} {
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("strikes, %s:\n got %+v\nwant %+v", what, got, want)
		}
	}
}

func strikes(t *testing.T, s authority.Stores) {
	key, other := authority.StrikeKey{1}, authority.StrikeKey{2}
	wantStrikes(t, s, key, authority.Strikes{})
	full := authority.Strikes{Failures: 3, LockedAt: start, Manual: true, ChangedAt: start.Add(time.Second)}
	for i := range byte(20) {
		full.Reservations = append(full.Reservations, authority.Reservation{
			ID: authority.ReservationID{i, 0xff}, ExpiresAt: start.Add(time.Duration(i) * time.Microsecond),
		})
		full.Guesses = append(full.Guesses, authority.Guess{0xff, i})
	}
	setStrikes(t, s, key, full)
	wantStrikes(t, s, key, full)
	wantStrikes(t, s, other, authority.Strikes{})
	full.LockedAt, full.Manual, full.Reservations, full.Guesses = time.Time{}, false, full.Reservations[:1], nil
	setStrikes(t, s, key, full)
	wantStrikes(t, s, key, full)
}

func strikeUpdates(t *testing.T, s authority.Stores) {
	key := authority.StrikeKey{1}
	many(50, func(i int) {
		err := s.Strikes.UpdateStrikes(t.Context(), key, func(now *authority.Strikes) error {
			now.Failures++
			id := authority.ReservationID{byte(i)} //nolint:gosec // i is below 50
			now.Reservations = append(now.Reservations, authority.Reservation{ID: id, ExpiresAt: start})
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
	got, err := s.Strikes.Strikes(t.Context(), key)
	must(t, err)
	ids := map[authority.ReservationID]bool{}
	for _, r := range got.Reservations {
		ids[r.ID] = true
	}
	equal(t, "failures after 50 concurrent updates", got.Failures, 50)
	equal(t, "reservations after 50 concurrent updates", len(ids), 50)
}

// strikesBounded logs in many times at once, with a wrong password and with the right one.
func strikesBounded(t *testing.T, s authority.Stores) {
	rules, err := authority.New(authority.Config{Stores: s, Key: make([]byte, 32), HashSlots: 8, HashQueue: 1000,
		Hash: authority.HashParams{MemoryKiB: 8, Passes: 1, Lanes: 1}, Log: slog.New(slog.DiscardHandler)})
	must(t, err)
	must(t, rules.AddKnownUser(t.Context(), "u", "right", authority.Origin{}))
	many(40, func(int) {
		if _, err := rules.LogIn(t.Context(), "u", "right", authority.Origin{}); err != nil {
			t.Errorf("a right password: %v", err)
		}
	})
	var evaluated atomic.Int64
	many(100, func(i int) {
		client := authority.Origin{Client: fmt.Sprint("key ", i%2)}
		_, err := rules.LogIn(t.Context(), "u", secret.Text(fmt.Sprint("wrong ", i)), client)
		if errors.Is(err, authority.ErrInvalidCredentials) {
			evaluated.Add(1)
		} else if !errors.Is(err, authority.ErrAccountLocked) {
			t.Errorf("a wrong password: %v", err)
		}
	})
	equal(t, "wrong passwords that were evaluated", evaluated.Load(), 5)
}

// strikesFolded folds the strikes of names, of which one is a user's.
func strikesFolded(t *testing.T, s authority.Stores) {
	must(t, s.Users.CreateUser(t.Context(), authority.User{Name: "u", CreatedAt: start}))
	user := keyOf("u")
	kept := map[authority.StrikeKey]authority.Strikes{
		user: {Failures: 2, ChangedAt: start, Guesses: []authority.Guess{{1}}},
	}
	folded := map[authority.StrikeKey]authority.Strikes{}
	set := func(i int, to authority.Strikes, fold bool) {
		to.ChangedAt = start.Add(time.Duration(i) * time.Second)
		setStrikes(t, s, keyOf(fmt.Sprint(i)), to)
		if kept[keyOf(fmt.Sprint(i))] = to; fold {
			folded[keyOf(fmt.Sprint(i))] = authority.Strikes{Failures: to.Failures, LockedAt: to.LockedAt}
		}
	}
	setStrikes(t, s, user, kept[user])
	attempt := []authority.Reservation{{ID: authority.ReservationID{1}, ExpiresAt: start.Add(time.Minute)}}
	set(1, authority.Strikes{Failures: 1, Reservations: attempt}, true) // of a process that died long ago
	set(2, authority.Strikes{Failures: 1, Reservations: attempt}, false)
	set(3, authority.Strikes{Failures: 5, LockedAt: start}, true)
	set(4, authority.Strikes{}, true)
	set(5, authority.Strikes{Failures: 4}, true)
	set(6, authority.Strikes{Failures: 1}, false) // the newest
	must(t, s.Strikes.FoldStrikes(t.Context(),
		authority.FoldBounds{Keep: 100, AtOnce: 100, Most: 1 << 20, ReservedBefore: start}))
	for key, want := range kept { // none was folded
		wantStrikes(t, s, key, want)
	}
	bounds := authority.FoldBounds{Keep: 1, AtOnce: 100, Most: 1 << 20, ReservedBefore: start.Add(2 * time.Second)}
	must(t, s.Strikes.FoldStrikes(t.Context(), bounds))
	for key, want := range kept {
		if fold, ok := folded[key]; ok {
			want = fold
		}
		wantStrikes(t, s, key, want)
	}
	// An update of folded strikes begins with them, and they are not folded any more.
	locked := keyOf("3")
	setStrikes(t, s, locked, authority.Strikes{})
	wantStrikes(t, s, locked, authority.Strikes{})
	// A user who gets the name of folded strikes has none.
	must(t, s.Users.CreateUser(t.Context(), authority.User{Name: "5", CreatedAt: start}))
	got, err := s.Strikes.Strikes(t.Context(), keyOf("5"))
	must(t, err)
	equal(t, "failures of a new user", got.Failures, 0)
}
