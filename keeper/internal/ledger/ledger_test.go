package ledger_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/latchkey/latchkey/keeper/internal/ledger"
)

// A login that fails for each reason: what it costs, and what comes next.
func TestWhatAFailedLoginCosts(t *testing.T) {
	for _, c := range []struct {
		name    string
		faults  []fault // of logins, a minute apart
		stored  string
		strikes int
		latch   ledger.LatchKind
		logIns  int // that the upstream evaluated
	}{
		{"success", []fault{none}, "first", 0, ledger.Unlatched, 1},
		{"wrong password", []fault{none, none, none}, "wrong", 1, ledger.WrongPassword, 1},
		{"not sent", []fault{unsent, unsent, unsent}, "first", 0, ledger.Unlatched, 0},
		{"unclear once", []fault{cut}, "first", 1, ledger.Unlatched, 0},
		{"unclear, then accepted", []fault{cut, none}, "first", 0, ledger.Unlatched, 1},
		{"unclear, and then away", []fault{cut, away, away, none}, "first", 0, ledger.Unlatched, 1},
		{"unclear, and away for long", []fault{cut, away, away, away}, "first", 1, ledger.Unlatched, 0},
		{"unclear twice", []fault{lateCut, timeout, none}, "wrong", 2, ledger.TwoStrikes, 1},
		{"killed before", []fault{killedBefore, none}, "first", 0, ledger.Unlatched, 1},
		{"killed twice", []fault{killedAfter, killedBefore, none}, "wrong", 2, ledger.TwoStrikes, 1},
		{"not recorded", []fault{diskFull, diskFull}, "wrong", 0, ledger.Unlatched, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld()
			w.stored = c.stored
			for _, f := range c.faults {
				w.faults = []fault{f}
				w.run(ledger.Renew)
				w.now = w.now.Add(time.Minute)
				if f == none {
					w.sessions = nil
				}
			}
			w.faults = nil
			w.run(ledger.Finish) // which settles what a killed program has left
			view := w.view()
			if view.Strikes != c.strikes || view.Latch.Kind != c.latch || w.logIns != c.logIns {
				t.Errorf("%d strikes, latch %v, %d logins, want %d, %v, %d\n%s", view.Strikes, view.Latch.Kind, w.logIns,
					c.strikes, c.latch, c.logIns, strings.Join(w.trace, "\n"))
			}
		})
	}
}

// A rotation with a fault at one of its actions: the phase that it is left in, and how
// the next program ends it.
func TestPhasesOfARotation(t *testing.T) {
	for _, c := range []struct {
		name        string
		faults      []fault // check store, reset, read response, store, log in
		phase, then ledger.Phase
		password    string // in the store, in the end
		strikes     int
	}{
		{"success", nil, "", "", "made 1", 0},
		{"the store cannot be written", []fault{cut}, "", "", "first", 0},
		{"the intent cannot be recorded", []fault{none, diskFull}, "", "", "first", 0},
		{"not sent", []fault{none, unsent}, "", "", "first", 0},
		{"killed before the reset", []fault{none, killedBefore}, ledger.Intent, "", "first", 0},
		{"cut before the reset, and the probe is not sent", []fault{none, cut, unsent}, ledger.InDoubt, "", "first", 0},
		{"cut before the reset, and away", []fault{none, cut, away}, ledger.InDoubt, "", "first", 0},
		{"cut before the reset, and the probe is cut", []fault{none, cut, cut}, ledger.Probed, ledger.Probed, "first", 1},
		{"cut after the reset", []fault{none, lateCut}, ledger.Lost, ledger.Lost, "first", 1},
		{"killed after the reset", []fault{none, killedAfter}, ledger.Intent, ledger.Lost, "first", 1},
		{"killed with the response", []fault{none, killedSettled}, ledger.Received, "", "made 1", 0},
		{"the store is full", []fault{none, none, none, cut, unsent}, ledger.Unsaved, "", "made 1", 0},
		{"the store is full, and the login proves", []fault{none, none, none, cut}, ledger.Proven, "", "made 1", 0},
		{"killed before the store", []fault{none, none, none, killedBefore}, ledger.Unsaved, "", "made 1", 0},
		{"killed after the store", []fault{none, none, none, killedAfter}, ledger.Stored, "", "made 1", 0},
		{"the proof is not sent", []fault{none, none, none, none, unsent}, ledger.Stored, "", "made 1", 0},
		{"the proof is unclear", []fault{none, none, none, none, cut}, ledger.Stored, "", "made 1", 0},
		{"killed at the proof", []fault{none, none, none, none, killedAfter}, ledger.Stored, "", "made 1", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld()
			w.run(ledger.Renew)
			w.faults = c.faults
			w.run(ledger.Rotate)
			if phase := w.view().Phase; phase != c.phase {
				t.Errorf("it is left %q, want %q\n%s", phase, c.phase, strings.Join(w.trace, "\n"))
			}
			w.faults = nil
			w.now = w.now.Add(time.Minute)
			w.run(ledger.Finish)
			view := w.view()
			if lost := view.Latch.Kind == ledger.LostPassword; lost != (c.then == ledger.Lost) {
				t.Errorf("the latch is %+v in phase %q", view.Latch, view.Phase)
			}
			if view.Phase != c.then || w.stored != c.password || w.strikes > c.strikes || w.made > 1 {
				t.Errorf("it ends %q with %q in the store, %d strikes and %d resets, want %q, %q, %d\n%s", view.Phase, w.stored,
					w.strikes, w.made, c.then, c.password, c.strikes, strings.Join(w.trace, "\n"))
			}
		})
	}
}

// The login that is refused because the upstream does not know its new password
// everywhere is made again once.
func TestANewPasswordMayBeRefusedOnce(t *testing.T) {
	w := newWorld()
	w.run(ledger.Renew)
	w.faults = []fault{none, killedSettled}
	w.run(ledger.Rotate)
	made := w.password
	w.password = "not yet"
	w.run(ledger.Finish)
	if view := w.view(); view.Phase != ledger.Stored || view.Strikes != 1 || view.Latch.Kind != ledger.Unlatched {
		t.Errorf("after one refusal: %+v", view)
	}
	if action := w.run(ledger.Finish); action.Do != ledger.Wait {
		t.Errorf("the next login does not wait: %s", describe(action))
	}
	w.now = w.now.Add(11 * time.Second)
	w.run(ledger.Finish)
	if view := w.view(); view.Phase != ledger.Refused || view.Strikes != 2 || !view.Stuck {
		t.Errorf("after two refusals: %+v", view)
	}
	// After a reset of the guard it is tried again, and one more refusal is final.
	w.guardReset()
	w.run(ledger.Finish)
	if view := w.view(); view.Phase != ledger.Refused || view.Strikes != 1 {
		t.Errorf("after the third refusal: %+v", view)
	}
	w.password = made
	w.guardReset()
	w.run(ledger.Finish)
	if view := w.view(); view.Phase != "" || w.stored != made {
		t.Errorf("after the reset of the guard: %+v", view)
	}
}

func TestARefusalAfterAnUnclearProofIsFinal(t *testing.T) {
	w := newWorld()
	w.run(ledger.Renew)
	w.faults = []fault{none, none, none, none, cut}
	w.run(ledger.Rotate)
	w.password = "not yet"
	w.now = w.now.Add(time.Minute)
	w.run(ledger.Finish)
	if view := w.view(); view.Phase != ledger.Refused || view.Strikes != 2 || view.Latch.Kind != ledger.WrongPassword {
		t.Errorf("got %+v", view)
	}
}

func TestAPasswordFromElsewhereIsNotOverwritten(t *testing.T) {
	w := newWorld()
	w.run(ledger.Renew)
	w.faults = []fault{none, killedSettled}
	w.run(ledger.Rotate)
	w.stored = "a third one"
	w.faults = []fault{none, unsent} // read response, log in
	w.run(ledger.Renew)
	w.sessions = nil
	w.faults = []fault{none, unsent}
	w.run(ledger.Renew)
	if w.stored != "a third one" {
		t.Errorf("the store holds %q although no login has proven it", w.stored)
	}
	w.now = w.now.Add(time.Hour)
	w.run(ledger.Finish)
	if w.stored != "made 1" || w.view().Phase != "" {
		t.Errorf("the store holds %q, phase %q", w.stored, w.view().Phase)
	}
}

// The new password is proven and could not be stored. Then support sets another one,
// and an operator stores it.
func TestAPasswordOfSupportIsNotOverwrittenByAProvenOne(t *testing.T) {
	for _, faults := range [][]fault{
		{none, none, none, cut},         // the new password is proven, and not stored
		{none, none, none, cut, unsent}, // neither
		{none, none, none, none, unsent},
	} {
		w := newWorld()
		w.run(ledger.Renew)
		w.faults = faults
		w.run(ledger.Rotate)
		w.faults = nil
		w.support()
		w.sessions = nil
		for range 2 { // a login with the password that the rotation made, and one with that of support
			w.now = w.now.Add(time.Hour)
			w.run(ledger.Renew)
		}
		if view := w.view(); w.stored != w.password || len(w.sessions) != 1 || view.Phase != "" || w.most > 1 {
			t.Errorf("%q: the store holds %q, %d sessions, phase %q, %d strikes\n%s", faults, w.stored, len(w.sessions),
				view.Phase,
				w.most, strings.Join(w.trace, "\n"))
		}
	}
}

func TestRecallRestoresAResponse(t *testing.T) {
	w := newWorld()
	w.run(ledger.Renew)
	w.faults = []fault{none, killedBefore}
	w.run(ledger.Rotate)
	record := w.open()
	kept := *record.Rotation
	kept.Phase, kept.Response = ledger.Received, "made 1"
	stored := func() (ledger.Credential, error) { return w.credential(), nil }
	if recalled, obsolete := w.rules.Recall(record, kept, stored); !recalled || obsolete ||
		record.Rotation.Phase != ledger.Received {
		t.Errorf("into the rotation without a response: %t, %t, %+v", recalled, obsolete, record.Rotation)
	}
	if recalled, obsolete := w.rules.Recall(record, kept, stored); recalled || obsolete {
		t.Errorf("into one with the response: %t, %t", recalled, obsolete)
	}
	record.Rotation.Begun, record.Rotation.Response = kept.Begun.Add(time.Hour), ""
	if recalled, obsolete := w.rules.Recall(record, kept, stored); recalled || obsolete {
		t.Errorf("into another rotation: %t, %t", recalled, obsolete)
	}
	record.Rotation = nil
	if recalled, obsolete := w.rules.Recall(record, kept, stored); !recalled || obsolete ||
		record.Rotation.Response != "made 1" {
		t.Errorf("into a record without the rotation: %t, %t, %+v", recalled, obsolete, record.Rotation)
	}
	record.Rotation, w.stored = nil, "made 1"
	if recalled, obsolete := w.rules.Recall(record, kept, stored); recalled || !obsolete {
		t.Errorf("beside a store with another password: %t, %t", recalled, obsolete)
	}
	fails := func() (ledger.Credential, error) { return ledger.Credential{}, errors.New("sealed") }
	if recalled, obsolete := w.rules.Recall(record, kept, fails); recalled || obsolete {
		t.Errorf("beside a store that cannot be read: %t, %t", recalled, obsolete)
	}
}

func TestSessionsThatAreRefusedSoonAreRenewedMoreAndMoreRarely(t *testing.T) {
	w := newWorld()
	w.run(ledger.Renew)
	var waits []time.Duration
	for range 8 {
		w.sessions = nil
		action := w.run(ledger.Renew)
		if action.Do != ledger.Wait || !action.OfSession {
			t.Fatalf("want a wait, got: %s", describe(action))
		}
		waits = append(waits, action.Left)
		w.now = w.now.Add(action.Left)
		if action := w.run(ledger.Renew); action.Do != ledger.LogIn {
			t.Fatalf("want a login after the wait, got: %s", describe(action))
		}
	}
	if waits[0] != time.Second || waits[1] != 2*time.Second || waits[7] != time.Minute {
		t.Errorf("the waits are %v", waits)
	}
	w.now = w.now.Add(6 * time.Minute)
	w.sessions = nil
	if action := w.run(ledger.Renew); action.Do != ledger.LogIn {
		t.Errorf("the end of an old session: %s", describe(action))
	}
}

// Every time of a record may be from a clock that was ahead.
func TestTimesInTheFutureCountAsNow(t *testing.T) {
	w := newWorld()
	w.run(ledger.Renew)
	w.faults = []fault{none, cut, cut}
	w.run(ledger.Rotate)
	w.now = w.now.Add(-20 * 365 * 24 * time.Hour)
	record, err := ledger.Open(w.saved, start, w.now)
	if err != nil || !record.NeedsSave() {
		t.Fatalf("error %v, needs a save: %t", err, record.NeedsSave())
	}
	view := w.rules.View(record, w.credential(), w.now)
	for name, at := range map[string]time.Time{
		"session": view.Session.Created, "last use": view.LastUse, "latch": view.Latch.Since,
		"password": view.Password.Since, "rotation": view.Begun,
	} {
		if at.After(w.now) {
			t.Errorf("%s: %v is in the future", name, at)
		}
	}
	again, err := ledger.Open(record.Encode(), w.now, w.now)
	if err != nil || again.NeedsSave() {
		t.Errorf("what was corrected is corrected again: %v", err)
	}
}

func TestOnlyRecordsOfThisVersionAreOpened(t *testing.T) {
	for data, want := range map[string]string{
		"":                  "not the record",
		"x":                 "not the record",
		`{"version":1}`:     "version 1",
		`{"version":3}`:     "version 3",
		`{}`:                "version 0",
		newWorld().saved:    "",
		`{"version":"two"}`: "not the record",
	} {
		_, err := ledger.Open(data, time.Time{}, start)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %q", data, err, want)
		}
	}
}

func TestARecordRemembersABoundedNumberOfAccounts(t *testing.T) {
	w := newWorld()
	for n := range 40 {
		w.rules.Upstream = "https://" + strings.Repeat("x", n) + ".example"
		w.stored = "wrong"
		w.run(ledger.Renew)
	}
	if record := w.open(); len(record.Accounts) > 16 {
		t.Errorf("%d accounts", len(record.Accounts))
	}
	if w.view().Latch.Kind != ledger.WrongPassword {
		t.Error("the last one is forgotten")
	}
}

func TestARotationOfAnotherAccountComesFirst(t *testing.T) {
	w := newWorld()
	w.run(ledger.Renew)
	w.faults = []fault{none, killedBefore}
	w.run(ledger.Rotate)
	w.rules.Upstream = "https://other.example"
	if action := w.run(ledger.Finish); action.Do != ledger.OtherAccount {
		t.Errorf("got: %s", describe(action))
	}
}
