package replicas_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/admin"
)

// world is a fleet with its users, and the history of all that they did.
type world struct {
	t       *testing.T
	f       *fleet
	h       *history
	gateway int // the replica that has an upstream; -1: none
	anchor  string

	mu     sync.Mutex
	fates  map[string]fate // of each session
	tokens []string
	people []*person
}

// fate is what is known of a session.
type fate int

const (
	alive fate = iota
	doubtful
	over
)

// person is a user, of whom one goroutine has the password.
type person struct {
	name     string
	password string
	version  int
	lost     bool   // a reset was never answered
	home     string // the session that resets are made in, which nothing ends
	sessions []string
}

func newWorld(t *testing.T, s setup) *world {
	f := startFleet(t, s)
	f.http.Timeout = 5 * time.Second
	w := &world{t: t, f: f, h: newHistory(), gateway: -1, fates: map[string]fate{}}
	if s.upstream != "" {
		w.gateway = len(f.replicas) - 1
	}
	w.anchor = w.newPerson("anchor").home
	return w
}

// newPerson adds a user who has logged in.
func (w *world) newPerson(name string) *person {
	w.t.Helper()
	p := &person{name: name, password: "the first one", version: 1}
	w.f.addUser(p.name, p.password)
	for p.home == "" {
		p.home = w.logIn(p, w.f.anywhere())
	}
	p.sessions = nil // without that one
	w.mu.Lock()
	w.people = append(w.people, p)
	w.mu.Unlock()
	return p
}

// known complains of an answer that nobody may get.
func (w *world) known(a answer) answer {
	if a.outcome == forbidden {
		w.t.Errorf("at %v: %v", a.back, a)
	}
	return a
}

// logIn answers the token of a new session, or "".
func (w *world) logIn(p *person, replica int) string {
	a := w.known(w.f.logIn(replica, p.name, p.password))
	w.h.user(p.name, act{kind: actLogIn, password: p.version}, a)
	if a.outcome == locked {
		w.unlock(p)
	}
	if a.outcome != ok {
		return ""
	}
	w.mu.Lock()
	w.fates[a.text] = alive
	w.tokens = append(w.tokens, a.text)
	w.mu.Unlock()
	p.sessions = append(p.sessions, a.text)
	return a.text
}

// guess logs in with a wrong password.
func (w *world) guess(p *person) answer {
	a := w.known(w.f.logIn(w.f.anywhere(), p.name, "a wrong one"))
	w.h.user(p.name, act{kind: actLogIn}, a)
	return a
}

// asOperator posts something once.
func (w *world) asOperator(path string, body any) answer {
	replica := w.f.anywhere()
	a := answer{outcome: ok, replica: replica, call: time.Since(w.f.begin)}
	ctx, cancel := context.WithTimeout(w.t.Context(), w.f.http.Timeout)
	defer cancel()
	if err := admin.NewClient(w.f.replicas[replica].socket()).Post(ctx, path, body, nil); err != nil {
		a.outcome, a.text = unanswered, err.Error()
	}
	a.back = time.Since(w.f.begin)
	return a
}

func (w *world) unlock(p *person) {
	w.h.user(p.name, act{kind: actClear}, w.asOperator(admin.PathUserUnlock, admin.Name{Name: p.name}))
}

// settle says what is known of a session.
func (w *world) settle(token string, to fate) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fates[token] = max(to, w.fates[token])
}

// logOut ends a session, sometimes on two replicas at once.
func (w *world) logOut(p *person, token string) {
	w.settle(token, doubtful)
	var wait sync.WaitGroup
	first := w.f.anywhere()
	for i := range 1 + rand.IntN(2) {
		wait.Go(func() {
			a := w.known(w.f.logOut((first+i)%len(w.f.replicas), token))
			w.h.session(token, actEnd, a)
			if !a.open() {
				w.settle(token, over)
			}
		})
	}
	wait.Wait()
	if w.fateOf(token) == over {
		p.sessions = slices.DeleteFunc(p.sessions, func(s string) bool { return s == token })
	}
}

func (w *world) fateOf(token string) fate {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.fates[token]
}

// reset changes the password, and asks until the new one is told.
func (w *world) reset(ctx context.Context, p *person) {
	key := fmt.Sprint(p.name, "-", p.version)
	call, again := time.Since(w.f.begin), false
	for _, token := range p.sessions {
		w.settle(token, doubtful)
	}
	for {
		a := w.known(w.f.reset(w.f.anywhere(), p.home, p.password, key))
		if a.outcome == expired {
			w.t.Errorf("a reset in a live session: %v", a)
		}
		a.call = call
		switch {
		case a.outcome == ok:
			p.version++
			w.h.user(p.name, act{kind: actClear}, a)
			w.h.user(p.name, act{kind: actReset, password: p.version}, a)
			// What a reset ends that was not answered at first is ended later.
			if again {
				a.outcome = unanswered
			}
			for _, token := range p.sessions {
				w.h.note(w.h.sessions, token, act{kind: actEnded, by: p.name}, a)
				if !again {
					w.settle(token, over)
				}
			}
			p.password, p.sessions = a.text, nil
			return
		case a.open():
			again = true
			w.h.user(p.name, act{kind: actClear}, a)
		case a.outcome == locked:
			w.unlock(p)
		default:
			w.t.Errorf("a reset: %v", a)
			return
		}
		if ctx.Err() != nil && time.Since(w.f.begin)-call > patience {
			p.lost = true
			a.outcome = unanswered
			w.h.user(p.name, act{kind: actReset, password: p.version + 1}, a)
			for _, token := range p.sessions {
				w.h.note(w.h.sessions, token, act{kind: actEnded, by: p.name}, a)
			}
			return
		}
		pause(50 * time.Millisecond)
	}
}

// live has one person do this and that until it is over.
func (w *world) live(ctx context.Context, p *person) {
	for ctx.Err() == nil && !p.lost && !w.t.Failed() {
		switch n := rand.IntN(20); {
		case n < 7 && len(p.sessions) < 12 || len(p.sessions) == 0:
			w.logIn(p, w.f.anywhere())
		case n < 16:
			w.logOut(p, p.sessions[rand.IntN(len(p.sessions))])
		case n < 18:
			w.reset(ctx, p)
		default:
			if a := w.guess(p); a.outcome == locked {
				w.unlock(p)
			}
		}
		pause(rand.N(30 * time.Millisecond))
	}
}

// doubt guesses now and then, until it is not clear what was counted.
func (w *world) doubt(ctx context.Context, p *person) {
	for ctx.Err() == nil && !w.guess(p).open() {
		pause(rand.N(150 * time.Millisecond))
	}
}

// look checks sessions of all kinds on all replicas.
func (w *world) look(ctx context.Context) {
	for ctx.Err() == nil && !w.t.Failed() {
		w.mu.Lock()
		token := w.tokens[max(0, len(w.tokens)-1-rand.IntN(60))] // rather a new one, so that it is checked often
		if rand.IntN(10) == 0 {
			token = w.tokens[rand.IntN(len(w.tokens))]
		}
		w.mu.Unlock()
		_ = w.check(w.f.anywhere(), token) // it is noted
		pause(rand.N(6 * time.Millisecond))
	}
}

func (w *world) check(replica int, token string) answer {
	call := w.f.check
	if replica == w.gateway && rand.IntN(2) == 0 {
		return w.forward(token)
	}
	a := w.known(call(replica, token))
	w.h.session(token, actCheck, a)
	return a
}

func (w *world) forward(token string) answer {
	a := w.known(w.f.forward(w.gateway, token))
	w.h.session(token, actCheck, a)
	return a
}

// fault is something that goes wrong.
type fault struct {
	name   string
	inject func()
	heal   func() // returns when the engine answers again
}

// suffer has some people live through a fault. It answers how long it took from its
// end until every replica answered again.
func (w *world) suffer(round int, broken fault) time.Duration {
	w.t.Helper()
	const people, lookers = 3, 4
	calm, trouble := choose(200*time.Millisecond, 500*time.Millisecond), choose(600*time.Millisecond, 1500*time.Millisecond)
	ctx, stop := context.WithCancel(w.t.Context())
	defer stop()
	var crowd sync.WaitGroup
	for i := range people {
		p := w.newPerson(fmt.Sprint(strings.ReplaceAll(broken.name, " ", "-"), round, ".", i))
		crowd.Go(func() { w.live(ctx, p) })
		crowd.Go(func() { w.doubt(ctx, p) })
	}
	for range lookers {
		crowd.Go(func() { w.look(ctx) })
	}
	pause(calm)
	broken.inject()
	pause(trouble)
	broken.heal()
	healed := time.Now()
	var recovery time.Duration
	for i := range w.f.replicas {
		await(w.t, fmt.Sprint("after ", broken.name, " replica ", i, " answers"), func() error {
			a := w.known(w.f.check(i, w.anchor))
			w.h.session(w.anchor, actCheck, a)
			if a.outcome != ok {
				return a
			}
			return nil
		})
		recovery = time.Since(healed)
	}
	const wanted = 2 * time.Second
	if recovery > wanted {
		w.t.Errorf("after %s, all replicas answer after %v", broken.name, recovery)
	}
	pause(calm)
	stop()
	crowd.Wait()
	return recovery
}

// endure goes through faults, one after the other, and judges.
func (w *world) endure(rounds int, stale time.Duration, faults ...fault) {
	w.t.Helper()
	for _, broken := range faults {
		var took []time.Duration
		for round := range rounds {
			if w.t.Failed() {
				break
			}
			took = append(took, w.suffer(round, broken).Round(100*time.Microsecond))
		}
		slices.Sort(took)
		if len(took) > 0 {
			w.t.Logf("%s: %d times, all replicas answer again after %v at most (median %v)", broken.name, len(took), took[len(took)-1], took[len(took)/2])
		}
	}
	w.finish(stale)
}

// finish looks at everything once more, on every replica.
func (w *world) finish(stale time.Duration) {
	w.t.Helper()
	names := w.f.users()
	for _, p := range w.people {
		if !names[p.name] {
			w.t.Errorf("%s was added and is gone", p.name)
		}
	}
	pause(stale)
	// The password was changed, and told, when the other sessions could not be ended
	// yet: the service says so, and ends them when it can.
	late := map[string]bool{}
	for _, r := range w.f.replicas {
		for _, match := range endedLater.FindAllStringSubmatch(r.said.String(), -1) {
			late[match[1]] = true
		}
	}
	counts, checked := map[fate]int{}, choose(150, 2000)
	for i, at := range rand.Perm(len(w.tokens)) {
		if i == checked {
			break
		}
		token := w.tokens[at]
		for r := range w.f.replicas {
			a := w.check(r, token)
			switch f := w.fates[token]; {
			case a.open():
				w.t.Errorf("in the end: %v", a)
			case f == alive && a.outcome != ok:
				w.t.Errorf("a live session is lost: %v", a)
			case f == over && a.outcome != expired && !w.h.endedLate(token, late):
				w.t.Errorf("a session that has ended is answered: %v", a)
			}
		}
		counts[w.fates[token]]++
	}
	undecided := 0
	for _, p := range w.people {
		if p.lost || w.t.Failed() {
			continue
		}
		w.unlock(p)
		if w.logIn(p, w.f.anywhere()) == "" {
			undecided++ // attempts that died hold strikes for a while
		}
	}
	w.t.Logf("in the end: %d accounts, %d of which were too busy to log in; of %d sessions that were looked at %d are alive, %d over, %d either",
		len(w.people), undecided, counts[alive]+counts[over]+counts[doubtful], counts[alive], counts[over], counts[doubtful])
	if n := w.h.late(late); n > 0 {
		w.t.Logf("resets of %d users could not end %d sessions at once", len(late), n)
	}
	w.h.hold(w.t, stale)
}

var endedLater = regexp.MustCompile(`could not be ended yet; it is tried again soon" user=(\S+)`)
