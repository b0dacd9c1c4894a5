package ledger_test

import (
	"fmt"
	"slices"
	"time"

	"github.com/latchkey/latchkey/keeper/internal/ledger"
)

const user = "zbeeblebrox"

var start = time.Date(2026, 11, 26, 8, 0, 0, 0, time.UTC)

// world is an upstream account, a credential store and a state, without a network or
// a disk. Programs come and go; what they have saved stays.
type world struct {
	now   time.Time
	rules ledger.Rules

	password string // in effect
	strikes  int    // that the upstream counts
	most     int    // of them since the last time that a person cleared them
	logIns   int
	made     int      // passwords that resets have made
	sessions []string // live
	stored   string   // the password in the credential store
	saved    string   // the record

	// lost is set when a reset was executed and its response was not saved.
	lost bool
	// steps are the faults of the actions to come; none is a success.
	faults []fault
	trace  []string
}

// fault is what befalls one action.
type fault string

const (
	none     fault = ""
	unsent   fault = "unsent"
	cut      fault = "cut"      // it never arrived, which cannot be known
	lateCut  fault = "late cut" // it was executed, and its response was lost
	timeout  fault = "timeout"  // it never arrived, and the upstream counts a failure
	diskFull fault = "disk full"
	away     fault = "away" // the upstream returns no access token
	// A program may end before its action, after it, or after it was settled.
	killedBefore  fault = "killed before"
	killedAfter   fault = "killed after"
	killedSettled fault = "killed settled"
)

var anyFault = []fault{none, none, none, none, unsent, cut, lateCut, timeout, diskFull, away, killedBefore,
	killedAfter, killedSettled}

func newWorld() *world {
	record := ledger.New([]byte("0123456789abcdef"))
	return &world{
		now: start, password: "first", stored: "first", saved: record.Encode(),
		rules: ledger.Rules{
			Upstream: "https://upstream.example", IdleLimit: 19 * time.Minute, StrikePause: 10 * time.Second,
			ShortLife: 5 * time.Minute, CanStore: true,
		},
	}
}

// nextFault returns the fault of an action. Only one can be away.
func (w *world) nextFault(action ledger.Action) (f fault) {
	if action.Do == ledger.Recover {
		return none
	}
	if len(w.faults) > 0 && (w.faults[0] == away) == (action.Do == ledger.AskUpstream) {
		f, w.faults = w.faults[0], w.faults[1:]
	}
	return f
}

func (w *world) open() *ledger.Record {
	record, err := ledger.Open(w.saved, w.now, w.now)
	if err != nil {
		panic(err)
	}
	return record
}

func (w *world) view() ledger.View { return w.rules.View(w.open(), w.credential(), w.now) }

func (w *world) credential() ledger.Credential {
	return ledger.Credential{User: user, Password: w.stored}
}

// held is the session of a program that has just found out that it is dead, or of one
// that was just started.
func (w *world) held(record *ledger.Record) ledger.Held {
	if s := record.Session; s != nil && !slices.Contains(w.sessions, s.Token) {
		return ledger.Held{Token: s.Token, Refused: true}
	}
	return ledger.Held{}
}

// run is a program that takes the lease and acts for a goal as a keeper does. It
// returns the action that it ended with.
func (w *world) run(goal ledger.Goal) ledger.Action {
	record := w.open()
	if goal == ledger.Rotate && record.Rotation != nil {
		goal = ledger.Finish
	}
	for range 20 {
		w.rules.Observe(record, w.credential())
		action := w.rules.Decide(record, goal, w.credential(), w.held(record), w.now)
		f := w.nextFault(action)
		w.trace = append(w.trace, fmt.Sprintf("%v: %s with fault %q", w.now.Sub(start), describe(action), f))
		record.Begin(action, w.now)
		final := action.Do == ledger.Done || action.Do == ledger.UseSession || action.Do == ledger.Wait ||
			action.Do == ledger.Stop || action.Do == ledger.OtherAccount
		mustSave := action.Do == ledger.LogIn || action.Do == ledger.ResetPassword
		if f == diskFull && (mustSave || final) {
			return action
		}
		if mustSave || final {
			w.saved = record.Encode()
		}
		if final || f == killedBefore {
			return action
		}
		out := w.act(record, action, f)
		if f == killedAfter {
			return action
		}
		w.rules.Settle(record, action, out, w.now)
		if f == killedSettled {
			return action
		}
		w.saved = record.Encode()
		switch {
		case action.Do == ledger.ResetPassword && (out.Verdict == ledger.Unsent || out.Verdict == ledger.Rejected):
			return action
		case action.Do == ledger.ResetPassword:
			goal = ledger.Finish
		case action.Do == ledger.LogIn && (out.Verdict != ledger.Accepted || goal == ledger.Renew):
			return action
		case (action.Do == ledger.CheckStore || action.Do == ledger.AskUpstream) && out.Verdict != ledger.Accepted:
			return action
		}
	}
	panic("the loop does not end")
}

func describe(a ledger.Action) string {
	names := map[ledger.Do]string{
		ledger.Done: "done", ledger.UseSession: "use session", ledger.Wait: "wait", ledger.Stop: "stop",
		ledger.OtherAccount: "other account", ledger.Recover: "recover",
		ledger.AskUpstream: "ask upstream", ledger.LogIn: "log in",
		ledger.CheckStore:    "check store",
		ledger.ResetPassword: "reset password", ledger.ReadResponse: "read response", ledger.StorePassword: "store password",
	}
	text := names[a.Do]
	if a.Probe {
		text += " as a probe"
	}
	if a.Do == ledger.LogIn || a.Do == ledger.StorePassword {
		text += " of " + a.Credential.Password
	}
	return text + a.Latch.Reason + a.Reason
}

// act is what becomes of an action.
func (w *world) act(record *ledger.Record, action ledger.Action, f fault) ledger.Outcome {
	switch action.Do {
	case ledger.AskUpstream:
		if f == away {
			return ledger.Outcome{Verdict: ledger.Unclear, Reason: string(f)}
		}
	case ledger.LogIn:
		return w.logIn(action.Credential.Password, f)
	case ledger.ResetPassword:
		return w.reset(record, action, f)
	case ledger.ReadResponse:
		if action.Response == "unreadable" {
			return ledger.Outcome{Verdict: ledger.Unclear, Reason: "not a response"}
		}
		return ledger.Outcome{Password: action.Response}
	case ledger.StorePassword, ledger.CheckStore:
		switch f {
		case unsent, cut, timeout, diskFull:
			return ledger.Outcome{Verdict: ledger.Unclear, Reason: string(f)}
		case lateCut:
			w.stored = action.Credential.Password
			return ledger.Outcome{Verdict: ledger.Unclear, Reason: string(f)}
		}
		w.stored = action.Credential.Password
	}
	return ledger.Outcome{}
}

func (w *world) logIn(password string, f fault) ledger.Outcome {
	switch f {
	case unsent:
		return ledger.Outcome{Verdict: ledger.Unsent, Reason: "no connection"}
	case cut:
		return ledger.Outcome{Verdict: ledger.Unclear, Reason: "cut"}
	case timeout:
		w.strike()
		return ledger.Outcome{Verdict: ledger.Unclear, Reason: "timeout"}
	}
	w.logIns++
	out := ledger.Outcome{}
	switch {
	case w.strikes >= 5:
		out = ledger.Outcome{Verdict: ledger.Rejected, Reason: "locked"}
	case password != w.password:
		w.strike()
		out = ledger.Outcome{Verdict: ledger.Rejected, Reason: "wrong", MayBeLate: true}
	default:
		w.strikes = 0
		out.Token = fmt.Sprint("session ", w.logIns)
		w.sessions = append(w.sessions, out.Token)
	}
	if f == lateCut {
		return ledger.Outcome{Verdict: ledger.Unclear, Reason: "cut"}
	}
	return out
}

func (w *world) strike() {
	w.strikes++
	w.most = max(w.most, w.strikes)
}

func (w *world) reset(record *ledger.Record, action ledger.Action, f fault) ledger.Outcome {
	switch {
	case f == unsent, !slices.Contains(w.sessions, action.Token):
		return ledger.Outcome{Verdict: ledger.Unsent, Reason: "no connection, or no session"}
	case f == cut, f == timeout:
		return ledger.Outcome{Verdict: ledger.Unclear, Reason: "cut"}
	case action.Credential.Password != w.password:
		w.strike()
		return ledger.Outcome{Verdict: ledger.Rejected, Reason: "mismatch"}
	}
	w.made++
	w.password, w.lost = fmt.Sprint("made ", w.made), true
	if f == lateCut || f == killedAfter {
		return ledger.Outcome{Verdict: ledger.Unclear, Reason: "cut"}
	}
	record.KeepResponse(w.password)
	w.saved, w.lost = record.Encode(), false
	return ledger.Outcome{Verdict: ledger.Unclear}
}

// support clears the strikes, and puts a new password into effect and into the store.
func (w *world) support() {
	w.made++
	w.password = fmt.Sprint("of support ", w.made)
	w.stored, w.lost = w.password, false
	w.guardReset()
}

// guardReset is what an operator does when support has cleared the strikes.
func (w *world) guardReset() {
	w.strikes, w.most = 0, 0
	record := w.open()
	record.ResetGuard()
	w.saved = record.Encode()
}

// knows reports whether the password in effect is in the store or in the record.
func (w *world) knows() bool {
	if w.stored == w.password {
		return true
	}
	rot := w.open().Rotation
	return rot != nil && slices.Contains([]string{rot.OldPassword, rot.Response, rot.NewPassword}, w.password)
}
