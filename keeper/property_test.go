package keeper_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/latchkey/latchkey/keeper"
)

// schedules returns how many random schedules the property is tried with, and the
// seed that they are drawn with. LATCHKEY_SOAK=1 draws many more, and new ones each
// time. The short form always draws the same ones, so that a change is tested by the
// change and not by chance.
func schedules() (count int, seed string) {
	if os.Getenv("LATCHKEY_SOAK") == "1" {
		return 100_000, "0"
	}
	return 1_000, "20261126"
}

// step is one thing that happens, some time after the one before.
type step struct {
	After   time.Duration
	Do      string
	Who     int // which process
	Callers int
	Rewind  bool // whether the requests' bodies can be read again
	Hurry   bool // whether the callers wait for a second only
	Kind    string
	Part    string
	Lasts   time.Duration
	Word    string        // a password
	Ahead   time.Duration // how far a process's clock is from then on
}

func (s step) String() string {
	return fmt.Sprintf("after %v %s who=%d callers=%d rewind=%t hurry=%t kind=%q part=%q lasts=%v word=%q ahead=%v",
		s.After, s.Do, s.Who, s.Callers, s.Rewind, s.Hurry, s.Kind, s.Part, s.Lasts, s.Word, s.Ahead)
}

type schedule struct {
	OneSession, TimedStrikes bool
	Clocks                   bool // each machine has a clock that is set; or else all have the system's
	Processes                int
	Steps                    []step
}

func drawSchedule(t *rapid.T) schedule {
	var (
		afters = rapid.SampledFrom([]time.Duration{0, 10 * time.Millisecond, 30 * time.Millisecond, time.Second,
			11 * time.Second, time.Minute, 19 * time.Minute, 21 * time.Minute, 59 * time.Minute, 70 * time.Minute})
		acts = rapid.SampledFrom([]string{"request", "request", "request", "request", "request", "request", "poison",
			"poison",
			"fault", "fault", "end sessions", "revoke bearer", "foreign login", "credential", "new password",
			"restart", "kill", "disk full", "operator", "clock"})
		kinds   = rapid.SampledFrom([]string{"unreachable", "hang", "cut", "lost", "5xx", "html", "throttled", "forbidden"})
		parts   = rapid.SampledFrom([]string{"", "login", "login", "token", "api"})
		lasts   = rapid.SampledFrom([]time.Duration{time.Second, 20 * time.Second, 3 * time.Minute})
		poisons = rapid.SampledFrom([]string{"session", "bearer", "either", "head", "failure"})
		clocks  = rapid.SampledFrom(append(slices.Clone(jumps), 0, 0, 0, time.Second, -time.Second))
		words   = rapid.SampledFrom([]string{"right", "right", "newer", "wrong", "worse"})
	)
	return schedule{
		OneSession:   rapid.Bool().Draw(t, "second login ends the first"),
		TimedStrikes: rapid.Bool().Draw(t, "timed-out login is a strike"),
		Clocks:       rapid.Bool().Draw(t, "clocks are set"),
		Processes:    rapid.IntRange(1, 3).Draw(t, "processes"),
		Steps: rapid.SliceOfN(rapid.Custom(func(t *rapid.T) step {
			s := step{After: afters.Draw(t, "after"), Do: acts.Draw(t, "do"), Who: rapid.IntRange(0, 2).Draw(t, "who")}
			switch s.Do {
			case "request":
				s.Callers = rapid.IntRange(1, 4).Draw(t, "callers")
				s.Rewind, s.Hurry = rapid.Bool().Draw(t, "rewind"), rapid.IntRange(0, 4).Draw(t, "hurry") == 0
			case "poison":
				s.Callers, s.Rewind, s.Kind = rapid.IntRange(1, 4).Draw(t, "callers"), rapid.Bool().Draw(t, "rewind"),
					poisons.Draw(t, "poison")
			case "fault":
				s.Kind, s.Part, s.Lasts = kinds.Draw(t, "kind"), parts.Draw(t, "part"), lasts.Draw(t, "lasts")
			case "disk full":
				s.Lasts = lasts.Draw(t, "lasts")
			case "credential", "new password":
				s.Word = words.Draw(t, "word")
			case "clock":
				s.Ahead = clocks.Draw(t, "ahead")
			}
			return s
		}), 4, 20).Draw(t, "steps"),
	}
}

// TestAnySchedule is the promise of the package: whatever callers, faults,
// crashes and people do, at most two strikes are spent, one login is under way at
// a time, every request succeeds or gets a true result, and when the trouble is
// over the keeper is back by itself unless it is latched.
func TestAnySchedule(t *testing.T) {
	want, seed := schedules()
	options := map[string]string{"rapid.checks": strconv.Itoa(want), "rapid.nofailfile": "true"}
	if given := flag.Lookup("rapid.seed").Value.String(); given == "0" {
		options["rapid.seed"] = seed
	}
	for name, value := range options {
		option := flag.Lookup(name)
		before := option.Value.String()
		if err := option.Value.Set(value); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = option.Value.Set(before) })
	}
	ran := 0
	rapid.Check(t, func(rt *rapid.T) {
		plan := drawSchedule(rt)
		ran++
		var faults []string
		synctest.Test(t, func(t *testing.T) { faults = run(t, plan) })
		if len(faults) > 0 {
			rt.Fatalf("%s", strings.Join(faults, "\n"))
		}
	})
	if ran < want {
		t.Errorf("%d schedules ran, want %d", ran, want)
	}
}

// world is a schedule under way.
type world struct {
	model    *model
	state    *keeper.MemoryState
	source   *source
	running  []*process
	callers  sync.WaitGroup
	requests int

	mu       sync.Mutex
	faults   []string
	operator time.Time // when the guard was last reset
	moved    bool      // a clock was set, so that times of the state say nothing
}

func (w *world) fault(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.faults = append(w.faults, fmt.Sprintf(format, args...))
}

func run(t *testing.T, plan schedule) []string {
	w := &world{model: newModel(), state: keeper.NewMemoryState(), source: newSource("right")}
	w.model.oneSession, w.model.timedStrikes = plan.OneSession, plan.TimedStrikes
	for range plan.Processes {
		w.running = append(w.running, startProcess(t, w.model, w.state, w.source, newClock(plan.Clocks)))
	}
	for _, s := range plan.Steps {
		pass(s.After)
		w.take(t, s)
	}
	w.settle(t)
	w.judge()
	return w.faults
}

func newClock(settable bool) *wall {
	if settable {
		return &wall{}
	}
	return nil
}

func (w *world) take(t *testing.T, s step) {
	who := s.Who % len(w.running)
	p := w.running[who]
	switch s.Do {
	case "request":
		for range s.Callers {
			w.requests++
			id := fmt.Sprint(w.requests)
			w.callers.Go(func() { w.request(p, id, s) })
		}
	case "poison":
		for range s.Callers {
			w.requests++
			id := fmt.Sprint(w.requests)
			w.callers.Go(func() { w.poison(p, id, s) })
		}
	case "fault":
		w.model.setFault(fault{s.Kind, s.Part, time.Now().Add(s.Lasts)})
	case "disk full":
		w.model.change(func() {})
		p.mu.Lock()
		p.diskFull = time.Now().Add(s.Lasts)
		p.mu.Unlock()
	case "end sessions":
		w.model.endSessions()
	case "revoke bearer":
		w.model.revokeBearer()
	case "foreign login":
		w.model.change(func() {
			w.model.strikes = 0
			if w.model.oneSession {
				clear(w.model.sessions)
			}
		})
	case "credential":
		w.model.change(func() { w.source.set(s.Word) })
	case "new password":
		w.model.change(func() { w.model.password = s.Word })
	case "restart", "kill":
		w.model.change(func() {})
		if s.Do == "kill" {
			p.kill(t.Context())
		}
		closeKeeper(t, p.keeper)
		w.running[who] = startProcess(t, w.model, w.state, w.source, p.clock)
	case "clock":
		if p.clock == nil {
			return
		}
		w.model.change(func() { p.clock.set(s.Ahead) })
		w.mu.Lock()
		w.moved = true
		w.mu.Unlock()
	case "operator":
		// The vendor's support clears the strikes, and the operator notifies the
		// keepers. That waits for a login under way, whose strike is forgiven, too.
		forgive := func() { w.model.strikes, w.model.maxStrikes = 0, 0 }
		w.model.change(forgive)
		if err := p.keeper.ResetGuard(t.Context()); err == nil { // the disk may be full
			w.model.change(forgive)
			w.mu.Lock()
			w.operator = time.Now()
			w.mu.Unlock()
		}
	}
}

// poison asks for a resource that refuses good tokens. It is no trouble: whatever
// comes of it, the requests for other resources have to succeed.
func (w *world) poison(p *process, id string, s step) {
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	defer cancel()
	method := http.MethodPost
	if s.Kind == "head" {
		method = http.MethodHead
	}
	req, err := http.NewRequestWithContext(ctx, method, modelURL+"/api/poison/"+s.Kind, strings.NewReader(id))
	if err != nil {
		w.fault("%v", err)
		return
	}
	if !s.Rewind {
		req.GetBody = nil
	}
	req.Header.Set("Request", id)
	got := do(p.rt, req)
	w.model.mu.Lock()
	defer w.model.mu.Unlock()
	if got.err == nil && got.status == http.StatusOK || w.model.sent[id] > 2 {
		w.fault("the poisoned request %s got %+v, and was sent %d times", id, got, w.model.sent[id])
	}
}

func (w *world) request(p *process, id string, s step) {
	patience := 4 * time.Minute
	if s.Hurry {
		patience = time.Second
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	began := time.Now()
	path := "/api/m2m/v1/devices"
	if len(id)%2 == 0 {
		path = "/api/m2m/v1/accounts/1"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, modelURL+path, strings.NewReader(id))
	if err != nil {
		w.fault("%v", err)
		return
	}
	if !s.Rewind {
		req.GetBody = nil
	}
	req.Header.Set("Request", id)
	got := do(p.rt, req)
	w.mu.Lock()
	operator, moved := w.operator, w.moved
	w.mu.Unlock()
	w.model.mu.Lock()
	defer w.model.mu.Unlock()
	if w.source.password() != w.model.password {
		w.model.lastTrouble = time.Now()
	}
	var latched *keeper.LatchedError
	switch {
	case w.model.executed[id] > 1 || w.model.sent[id] > 2:
		w.fault("request %s was sent %d times and executed %d times", id, w.model.sent[id], w.model.executed[id])
	case got.err == nil && got.status == http.StatusOK:
		if w.model.executed[id] != 1 || got.body != "echo:"+id {
			w.fault("request %s got %q, and executed %d times", id, got.body, w.model.executed[id])
		}
	case errors.As(got.err, &latched):
		if !moved && latched.Since.Before(operator) && began.After(operator.Add(6*time.Second)) {
			w.fault("request %s got a latch that an operator has reset: %v", id, got.err)
		}
	case s.Hurry && errors.Is(got.err, context.DeadlineExceeded):
		// A second is too short for the bearer's last one, which has to be waited for.
	case got.err == nil && (got.status == 400 || got.status == 401) && (!s.Rewind || w.model.sent[id] == 2):
		// The upstream's own refusal: the request could not be sent again, or was
		// refused for one token after the other.
		if w.model.executed[id] != 0 {
			w.fault("request %s was refused, and executed %d times", id, w.model.executed[id])
		}
	case moved:
		// A clock that is wrong may make a dead session look alive to its machine,
		// whose users get that error for as long as the shortest wait.
	case time.Since(w.model.lastTrouble) > 6*time.Minute && began.Sub(w.model.lastTrouble) > 6*time.Minute:
		w.fault("request %s failed though nothing was wrong for %v: status %d, body %q, error %v",
			id, time.Since(w.model.lastTrouble), got.status, got.body, got.err)
	}
}

// settle ends the trouble, and asks every process to work again.
func (w *world) settle(t *testing.T) {
	w.callers.Wait()
	w.model.mu.Lock()
	w.model.faults = nil
	w.source.set(w.model.password)
	w.model.mu.Unlock()
	pass(10 * time.Minute)
	for i, p := range w.running {
		got := get(p.rt)
		// A wait that was begun before a clock was put back begins again when a login
		// first meets it, and the requests before may have renewed a bearer only.
		for tries := 0; w.moved && tries < 5 && (got.err != nil || got.status != http.StatusOK); tries++ {
			pass(11 * time.Second)
			got = get(p.rt)
		}
		if got.err == nil && got.status != http.StatusOK { // both tokens were refused, one after the other
			got = get(p.rt)
		}
		if got.err == nil && got.status == http.StatusOK {
			continue
		}
		status, err := p.keeper.Status(t.Context())
		var latched *keeper.LatchedError
		if err != nil || status.Latched == nil || !errors.As(got.err, &latched) {
			w.fault("process %d did not recover: status %d, body %q, error %v (latched: %v, %v)",
				i, got.status, got.body, got.err, status.Latched, err)
		}
	}
	for _, p := range w.running {
		closeKeeper(t, p.keeper)
	}
}

func (w *world) judge() {
	w.model.mu.Lock()
	defer w.model.mu.Unlock()
	if w.model.maxStrikes > 2 || w.model.locked {
		w.fault("%d strikes were spent", w.model.maxStrikes)
	}
	if w.model.maxInFlight > 1 {
		w.fault("%d logins were under way at once", w.model.maxInFlight)
	}
}
