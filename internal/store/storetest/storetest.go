// Package storetest is the conformance suite of stores: every rule that
// internal/authority/stores.go states is a case here, and every store passes every case.
// Time is an argument of the calls, so that the suite sets it.
package storetest

import (
	"context"
	"crypto/sha256"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/authority"
)

// Idle is the idle timeout that the suite uses.
const Idle = 20 * time.Minute

// start is when the suite's time begins.
var start = time.Date(2026, 3, 1, 12, 0, 0, 123456000, time.UTC)

// Run tests stores that open returns, in parallel. open returns stores with nothing in
// them, and closes them with t.Cleanup. groups selects cases, such as "sessions"; none
// means all.
func Run(t *testing.T, open func(t *testing.T) authority.Stores, groups ...string) {
	t.Helper()
	cases := map[string]func(*testing.T, authority.Stores){
		"users/create, read, change, list and remove":          users,
		"users/an update is atomic":                            userUpdates,
		"users/a name used twice is two users":                 userTwice,
		"users/of concurrent resets one is kept, whole":        userResets,
		"clients/create, read, change and list":                clients,
		"strikes/create, read and change":                      strikes,
		"strikes/an update is atomic":                          strikeUpdates,
		"strikes/five wrong passwords at most are evaluated":   strikesBounded,
		"strikes/folding changes nothing that counts":          strikesFolded,
		"sessions/idle time slides and is exact":               sessionIdle,
		"sessions/an absolute end holds":                       sessionLifetime,
		"sessions/use and sweep agree on what is expired":      sessionExpiry,
		"sessions/exactly one end succeeds":                    sessionEnd,
		"sessions/an ended one is never returned again":        sessionEndedForGood,
		"sessions/a change of the password ends the others":    sessionEndUser,
		"sessions/a sweep takes the expired and no other":      sessionSweep,
		"sessions/a listing pages through all, newest first":   sessionPages,
		"sessions/a future time counts as now":                 sessionFuture,
		"audit/events are kept in order and found":             audit,
		"audit/events are chained, and trimmed from the front": auditChain,
		"audit/any text is kept, and chained as it is kept":    auditText,
		"audit/a future time ends no trimming":                 auditFuture,
		"every store/a canceled context stops what waits":      contexts,
	}
	for name, run := range cases {
		group, _, _ := strings.Cut(name, "/")
		if len(groups) > 0 && !slices.Contains(groups, group) {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run(t, open(t))
		})
	}
}

// must fails the test on an error.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wantError fails the test unless err is the wanted one.
func wantError(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got error %v, want %v", err, want)
	}
}

func equal[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Fatalf("%s:\n got %+v\nwant %+v", what, got, want)
	}
}

// Key returns the i-th of a series of session keys.
func Key(i int) authority.SessionKey { return sha256.Sum256([]byte("session " + strconv.Itoa(i))) }

// NewSession returns the i-th of a series of sessions, created at the given time.
func NewSession(i int, user string, at time.Time) authority.Session {
	return authority.Session{Key: Key(i), User: user, PasswordVersion: 1, Client: "key", CreatedAt: at, LastUsedAt: at}
}

// many runs n calls at once and returns when all have ended.
func many(n int, call func(i int)) {
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() { call(i) })
	}
	group.Wait()
}

func contexts(t *testing.T, s authority.Stores) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	wantError(t, s.Users.CreateUser(ctx, authority.User{Name: "u"}), context.Canceled)
	_, err := s.Users.User(t.Context(), "u")
	wantError(t, err, authority.ErrNotFound)
}
