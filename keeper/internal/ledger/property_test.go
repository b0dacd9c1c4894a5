package ledger_test

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/latchkey/latchkey/keeper/internal/ledger"
)

// TestNeverMoreThanTwoStrikesAndNeverWithoutAPassword runs programs that renew, rotate
// and finish, with a fault at any action.
func TestNeverMoreThanTwoStrikesAndNeverWithoutAPassword(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld()
		check := func(when string) {
			switch {
			case w.most > ledger.StrikeLimit:
				t.Fatalf("%s: %d strikes\n%s", when, w.most, strings.Join(w.trace, "\n"))
			case !w.lost && !w.knows():
				t.Fatalf("%s: the password is not known\n%s", when, strings.Join(w.trace, "\n"))
			}
		}
		steps := rapid.IntRange(1, 12).Draw(t, "steps")
		for range steps {
			w.now = w.now.Add(rapid.SampledFrom([]time.Duration{
				0, time.Second, 11 * time.Second, 10 * time.Minute, time.Hour, -time.Hour,
			}).Draw(t, "after"))
			w.faults = rapid.SliceOfN(rapid.SampledFrom(anyFault), 0, 8).Draw(t, "faults")
			switch rapid.SampledFrom([]string{
				"renew", "renew", "rotate", "rotate", "finish", "sessions end", "guard reset", "changed elsewhere", "support",
			}).Draw(t, "do") {
			case "renew":
				w.run(ledger.Renew)
			case "rotate":
				w.run(ledger.Rotate)
			case "finish":
				w.run(ledger.Finish)
			case "sessions end":
				w.sessions = nil
			case "guard reset": // by an operator who knows that there are no strikes
				w.guardReset()
			case "changed elsewhere":
				w.made++
				w.password, w.lost = "elsewhere", true // which no keeper can know
			case "support":
				w.support()
			}
			check("after a step")
		}
		// The trouble is over, and time passes.
		w.faults, w.sessions = nil, nil
		for range 4 {
			w.now = w.now.Add(2 * time.Hour)
			w.run(ledger.Finish)
			w.run(ledger.Renew)
			check("at the end")
		}
		view := w.view()
		if latched := view.Latch.Kind != ledger.Unlatched; !latched && (len(w.sessions) == 0 || view.Phase != "") {
			t.Fatalf("no session, or a rotation that is %q, and no latch\n%s", view.Phase, strings.Join(w.trace, "\n"))
		}
		if !w.lost && view.Phase == ledger.Lost && w.stored != w.password {
			t.Fatalf("the password is not lost, but said to be\n%s", strings.Join(w.trace, "\n"))
		}
		// Support and an operator always help. The first login may be made with the
		// password of a rotation that has not ended.
		w.support()
		w.sessions = nil
		for range 3 {
			w.now = w.now.Add(time.Hour)
			w.run(ledger.Renew)
			w.run(ledger.Finish)
			check("after support")
		}
		if view := w.view(); len(w.sessions) == 0 || view.Phase != "" || view.Latch.Kind != ledger.Unlatched {
			t.Fatalf("support did not help: %+v\n%s", view, strings.Join(w.trace, "\n"))
		}
	})
}
