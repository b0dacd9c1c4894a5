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

// forever is when those requests return of which nobody knows what became of them.
const forever = time.Duration(math.MaxInt64)

// history is what clients asked for, and when they were answered.
type history struct {
	mu       sync.Mutex
	sessions map[string][]porcupine.Operation // by token
	users    map[string][]porcupine.Operation // by name
	answers  map[string]int                   // how many were answered how
}

func newHistory() *history {
	return &history{sessions: map[string][]porcupine.Operation{}, users: map[string][]porcupine.Operation{}, answers: map[string]int{}}
}

// act is what a request does to a session or to an account.
type act struct {
	kind     string
	password int    // of a login: which one; 0 is one that was never right
	by       string // of an end by a reset: whose
}

// The acts.
const (
	actCheck = "check"        // of a session
	actEnd   = "logout"       // of a session, by itself
	actEnded = "ended-by"     // of a session: a reset in another one, or an operator
	actLogIn = "login"        // of an account
	actClear = "clear"        // of an account: its failures are forgotten
	actReset = "new-password" // of an account
)

// note takes an operation down. What was not answered may happen at any time later,
// or, which is the same, after everything else.
func (h *history) note(of map[string][]porcupine.Operation, name string, what act, a answer) {
	if a.open() {
		a.back = forever
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.answers[what.kind+" "+string(a.outcome)]++
	if a.open() && what.kind == actCheck {
		return // it changes nothing
	}
	of[name] = append(of[name], porcupine.Operation{ClientId: a.replica, Input: what, Call: int64(a.call), Output: a.outcome, Return: int64(a.back)})
}

// late has the ends by resets of these users happen at any time later.
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

func (h *history) session(token string, kind string, a answer) {
	h.note(h.sessions, token, act{kind: kind}, a)
}

func (h *history) user(name string, what act, a answer) { h.note(h.users, name, what, a) }

// sessionModel is a session: true until it has ended.
var sessionModel = porcupine.Model{
	Init: func() any { return true },
	Step: func(state, input, output any) (bool, any) {
		live, _ := state.(bool)
		what, _ := input.(act)
		o, _ := output.(outcome)
		switch {
		case what.kind == actEnded, o == unavailable, o == unanswered:
			return true, false
		case what.kind == actEnd && o == ok:
			return live, false
		}
		return live == (o == ok), live
	},
	DescribeOperation: func(input, output any) string { return fmt.Sprint(input, " → ", output) },
}

// account is a user's password, counted from 1, and the failures in a row.
type account struct{ password, failures int }

const strikes = 5 // the failure that locks

var accountModel = porcupine.Model{
	Init: func() any { return account{password: 1} },
	Step: func(state, input, output any) (bool, any) {
		a, _ := state.(account)
		what, _ := input.(act)
		o, _ := output.(outcome)
		open := o == unavailable || o == unanswered
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
			return open || o == locked, a
		case right && (open || o == ok):
			a.failures = 0
			return true, a
		case !right && (open || o == wrong):
			a.failures++
			return true, a
		}
		return false, a
	},
	DescribeOperation: func(input, output any) string { return fmt.Sprint(input, " → ", output) },
	DescribeState:     func(state any) string { return fmt.Sprintf("%+v", state) },
}

// judged is what came of a history.
type judged struct{ sessions, accounts, operations, undecided int }

// hold holds everything to the models. With cached sessions, a check may return what
// was true up to stale before it began.
func (h *history) hold(t *testing.T, stale time.Duration) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	var j judged
	for token, operations := range h.sessions {
		j.sessions++
		for i, o := range operations {
			if what, _ := o.Input.(act); what.kind == actCheck && o.Output == ok {
				operations[i].Call -= int64(stale)
			}
		}
		h.holdOne(t, &j, "a session", token, sessionModel, operations)
	}
	for name, operations := range h.users {
		j.accounts++
		h.holdOne(t, &j, "an account", name, accountModel, operations)
	}
	t.Logf("%d operations on %d sessions and %d accounts were held to the models, %d of these undecided; answers: %v",
		j.operations, j.sessions, j.accounts, j.undecided, h.answers)
}

func (h *history) holdOne(t *testing.T, j *judged, what, name string, model porcupine.Model, operations []porcupine.Operation) {
	t.Helper()
	j.operations += len(operations)
	const enough = 10 * time.Second
	switch porcupine.CheckOperationsTimeout(model, operations, enough) {
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
			text += fmt.Sprintf("\nreplica %d, %v to %s: %v → %v", o.ClientId, time.Duration(o.Call), back, o.Input, o.Output)
		}
		t.Errorf("%s, %.8s…, is not what one service would have answered:%s", what, name, text)
	}
}

// TestTheModels has the models see what they are for.
func TestTheModels(t *testing.T) {
	at := func(o outcome, call, back time.Duration) answer { return answer{outcome: o, call: call, back: back} }
	for name, c := range map[string]struct {
		note  func(*history)
		stale time.Duration
		want  bool
	}{
		"a check after a logout": {func(h *history) {
			h.session("a", actEnd, at(ok, 1, 2))
			h.session("a", actCheck, at(ok, 3, 4))
		}, 0, false},
		"the same while cached sessions may be stale": {func(h *history) {
			h.session("a", actEnd, at(ok, 1, 2))
			h.session("a", actCheck, at(ok, 3, 4))
		}, 2, true},
		"after that": {func(h *history) {
			h.session("a", actEnd, at(ok, 1, 2))
			h.session("a", actCheck, at(ok, 5, 6))
		}, 2, false},
		"expired while it lives": {func(h *history) {
			h.session("a", actCheck, at(expired, 1, 2))
			h.session("a", actEnd, at(ok, 3, 4))
		}, 0, false},
		"expired, then answered, after a logout that was not": {func(h *history) {
			h.session("a", actEnd, at(unanswered, 1, 2))
			h.session("a", actCheck, at(expired, 3, 4))
			h.session("a", actCheck, at(ok, 5, 6))
		}, 0, false},
		"expired after a logout that was not answered": {func(h *history) {
			h.session("a", actEnd, at(unanswered, 1, 2))
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
		"locked by one that was not answered": {func(h *history) {
			for i := range 4 {
				h.user("u", act{kind: actLogIn}, at(wrong, time.Duration(2*i), time.Duration(2*i+1)))
			}
			h.user("u", act{kind: actLogIn}, at(unanswered, 10, 11))
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
			t.Errorf("%s: the models answer %v", name, got)
		}
	}
}
