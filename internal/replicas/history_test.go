package replicas_test

import (
	"fmt"
	"math"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// forever is the return time of requests whose outcome is unknown.
const forever = time.Duration(math.MaxInt64)

// history is the requests of clients, and their responses with the times.
type history struct {
	mu       sync.Mutex
	sessions map[string][]porcupine.Operation // by token
	users    map[string][]porcupine.Operation // by name
	outcomes map[string]int                   // the number of each outcome
}

func newHistory() *history {
	return &history{
		sessions: map[string][]porcupine.Operation{}, users: map[string][]porcupine.Operation{},
		outcomes: map[string]int{},
	}
}

// act is the effect of a request on a session or an account.
type act struct {
	kind     string
	password int    // of a login: the version of the password; 0 for a wrong one
	by       string // of an end by a reset: the user
}

// The kinds of acts.
const (
	actCheck = "check"        // of a session
	actEnd   = "logout"       // of a session, by itself
	actEnded = "ended-by"     // of a session: by a reset in another one, or by an operator
	actLogIn = "login"        // of an account
	actClear = "clear"        // of an account: the failures are reset
	actReset = "new-password" // of an account
)

// note records an operation. An operation with an ambiguous response may happen at any later time,
// including after everything else.
func (h *history) note(of map[string][]porcupine.Operation, name string, what act, a response) {
	if a.ambiguous() {
		a.back = forever
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.outcomes[what.kind+" "+string(a.outcome)]++
	if a.ambiguous() && what.kind == actCheck {
		return // it changes nothing
	}
	of[name] = append(of[name], porcupine.Operation{
		ClientId: a.replica, Input: what, Call: int64(a.call), Output: a.outcome, Return: int64(a.back),
	})
}

// late lets the ends by resets of these users happen at any later time, and returns their number.
func (h *history) late(users map[string]bool) (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, operations := range h.sessions {
		for i, o := range operations {
			if what, _ := o.Input.(act); what.kind == actEnded && users[what.by] {
				operations[i].Return = int64(forever)
				n++
			}
		}
	}
	return n
}

// endedLate reports whether a session was ended by a reset of one of these users.
func (h *history) endedLate(token string, users map[string]bool) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.ContainsFunc(h.sessions[token], func(o porcupine.Operation) bool {
		what, _ := o.Input.(act)
		return what.kind == actEnded && users[what.by]
	})
}

func (h *history) session(token string, kind string, a response) {
	h.note(h.sessions, token, act{kind: kind}, a)
}

func (h *history) user(name string, what act, a response) { h.note(h.users, name, what, a) }

// sessionModel models a session: the state is true until it has ended.
var sessionModel = porcupine.Model{
	Init: func() any { return true },
	Step: func(state, input, output any) (bool, any) {
		live, _ := state.(bool)
		what, _ := input.(act)
		o, _ := output.(outcome)
		switch {
		case what.kind == actEnded, o == unavailable, o == lost:
			return true, false
		case what.kind == actEnd && o == ok:
			return live, false
		}
		return live == (o == ok), live
	},
	DescribeOperation: func(input, output any) string { return fmt.Sprint(input, " → ", output) },
}

// account is the state of a user: the version of the password, from 1, and the failures in a row.
type account struct{ password, failures int }

const strikes = 5 // the number of failures that lock

var accountModel = porcupine.Model{
	Init: func() any { return account{password: 1} },
	Step: func(state, input, output any) (bool, any) {
		a, _ := state.(account)
		what, _ := input.(act)
		o, _ := output.(outcome)
		ambiguous := o == unavailable || o == lost
		switch what.kind {
		case actClear:
			a.failures = 0
			return true, a
		case actReset:
			a.password, a.failures = what.password, 0
			return true, a
		}
		right := what.password == a.password
		switch {
		case a.failures == strikes:
			return ambiguous || o == locked, a
		case right && (ambiguous || o == ok):
			a.failures = 0
			return true, a
		case !right && (ambiguous || o == wrong):
			a.failures++
			return true, a
		}
		return false, a
	},
	DescribeOperation: func(input, output any) string { return fmt.Sprint(input, " → ", output) },
	DescribeState:     func(state any) string { return fmt.Sprintf("%+v", state) },
}

// totals counts what was checked.
type totals struct{ sessions, accounts, operations, undecided int }

// check checks the history against the models. With cached sessions, the response to a check may
// be as old as stale.
func (h *history) check(t *testing.T, stale time.Duration) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	var j totals
	for token, operations := range h.sessions {
		j.sessions++
		for i, o := range operations {
			if what, _ := o.Input.(act); what.kind == actCheck && o.Output == ok {
				operations[i].Call -= int64(stale)
			}
		}
		h.checkOne(t, &j, "a session", token, sessionModel, operations)
	}
	for name, operations := range h.users {
		j.accounts++
		h.checkOne(t, &j, "an account", name, accountModel, operations)
	}
	t.Logf("checked %d operations on %d sessions and %d accounts, %d of these undecided; outcomes: %v",
		j.operations, j.sessions, j.accounts, j.undecided, h.outcomes)
}

func (h *history) checkOne(
	t *testing.T, j *totals, what, name string, model porcupine.Model, operations []porcupine.Operation,
) {
	t.Helper()
	j.operations += len(operations)
	const limit = 10 * time.Second
	switch porcupine.CheckOperationsTimeout(model, operations, limit) {
	case porcupine.Ok:
	case porcupine.Unknown:
		j.undecided++
	case porcupine.Illegal:
		text := ""
		for _, o := range operations {
			back := "never"
			if o.Return != int64(forever) {
				back = time.Duration(o.Return).String()
			}
			text += fmt.Sprintf("\nreplica %d, %v to %s: %v → %v",
				o.ClientId, time.Duration(o.Call), back, o.Input, o.Output)
		}
		t.Errorf("%s, %.8s…, differs from that of a single service:%s", what, name, text)
	}
}

func TestModels(t *testing.T) {
	at := func(o outcome, call, back time.Duration) response {
		return response{outcome: o, call: call, back: back}
	}
	for name, c := range map[string]struct {
		note  func(*history)
		stale time.Duration
		want  bool
	}{
		"a check after a logout": {func(h *history) {
			h.session("a", actEnd, at(ok, 1, 2))
			h.session("a", actCheck, at(ok, 3, 4))
		}, 0, false},
		"the same if cached sessions may be stale": {func(h *history) {
			h.session("a", actEnd, at(ok, 1, 2))
			h.session("a", actCheck, at(ok, 3, 4))
		}, 2, true},
		"a check after cached sessions may be stale": {func(h *history) {
			h.session("a", actEnd, at(ok, 1, 2))
			h.session("a", actCheck, at(ok, 5, 6))
		}, 2, false},
		"expired before its end": {func(h *history) {
			h.session("a", actCheck, at(expired, 1, 2))
			h.session("a", actEnd, at(ok, 3, 4))
		}, 0, false},
		"expired, then accepted, after a lost logout": {func(h *history) {
			h.session("a", actEnd, at(lost, 1, 2))
			h.session("a", actCheck, at(expired, 3, 4))
			h.session("a", actCheck, at(ok, 5, 6))
		}, 0, false},
		"accepted, then expired, after a lost logout": {func(h *history) {
			h.session("a", actEnd, at(lost, 1, 2))
			h.session("a", actCheck, at(ok, 3, 4))
			h.session("a", actCheck, at(expired, 5, 6))
		}, 0, true},
		"two logouts": {func(h *history) {
			h.session("a", actEnd, at(ok, 1, 4))
			h.session("a", actEnd, at(ok, 2, 5))
		}, 0, false},
		"the old password": {func(h *history) {
			h.user("u", act{kind: actReset, password: 2}, at(ok, 1, 2))
			h.user("u", act{kind: actLogIn, password: 1}, at(ok, 3, 4))
		}, 0, false},
		"a sixth guess": {func(h *history) {
			for i := range 6 {
				h.user("u", act{kind: actLogIn}, at(wrong, time.Duration(2*i), time.Duration(2*i+1)))
			}
		}, 0, false},
		"locked too early": {func(h *history) {
			for i := range 4 {
				h.user("u", act{kind: actLogIn}, at(wrong, time.Duration(2*i), time.Duration(2*i+1)))
			}
			h.user("u", act{kind: actLogIn}, at(locked, 20, 21))
		}, 0, false},
		"locked by a lost guess": {func(h *history) {
			for i := range 4 {
				h.user("u", act{kind: actLogIn}, at(wrong, time.Duration(2*i), time.Duration(2*i+1)))
			}
			h.user("u", act{kind: actLogIn}, at(lost, 10, 11))
			h.user("u", act{kind: actLogIn}, at(locked, 20, 21))
		}, 0, true},
	} {
		h := newHistory()
		c.note(h)
		got := true
		for _, operations := range h.sessions {
			for i, o := range operations {
				if what, _ := o.Input.(act); what.kind == actCheck && o.Output == ok {
					operations[i].Call -= int64(c.stale)
				}
			}
			got = got && porcupine.CheckOperations(sessionModel, operations)
		}
		for _, operations := range h.users {
			got = got && porcupine.CheckOperations(accountModel, operations)
		}
		if got != c.want {
			t.Errorf("%s: the models return %v", name, got)
		}
	}
}
