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
	"github.com/latchkey/latchkey/internal/authority"
)

// world is a fleet with its users and the history of their requests.
type world struct {
	t       *testing.T
	f       *fleet
	h       *history
	gateway int // the replica that has an upstream, or -1
	anchor  string

	mu     sync.Mutex
	fates  map[string]fate // of each session
	tokens []string
	people []*person
}

// fate is what is known about a session.
type fate int

const (
	alive fate = iota
	unclear
	ended
)

// person is a user, who is used by one goroutine.
type person struct {
	name     string
	password string
	version  int
	lost     bool   // the response to a reset was lost for good
	home     string // the session for resets, which is not ended
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

// newPerson adds a user and logs in.
func (w *world) newPerson(name string) *person {
	w.t.Helper()
	p := &person{name: name, password: "the first one", version: 1}
	w.f.addUser(p.name, p.password)
	for p.home == "" {
		p.home = w.logIn(p, w.f.anywhere())
	}
	p.sessions = nil // without the session for resets
	w.mu.Lock()
	w.people = append(w.people, p)
	w.mu.Unlock()
	return p
}

// known reports an error if the response is unexpected.
func (w *world) known(a response) response {
	if a.outcome == unexpected {
		w.t.Errorf("at %v: %v", a.back, a)
	}
	return a
}

// logIn returns the token of a new session, or "".
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
func (w *world) guess(p *person) response {
	a := w.known(w.f.logIn(w.f.anywhere(), p.name, "a wrong one"))
	w.h.user(p.name, act{kind: actLogIn}, a)
	return a
}

// asOperator sends a request to the admin API once.
func (w *world) asOperator(path string, body any) response {
	replica := w.f.anywhere()
	a := response{outcome: ok, replica: replica, call: time.Since(w.f.begin)}
	ctx, cancel := context.WithTimeout(w.t.Context(), w.f.http.Timeout)
	defer cancel()
	if err := admin.NewClient(w.f.replicas[replica].socket()).Post(ctx, path, body, nil); err != nil {
		a.outcome, a.text = lost, err.Error()
	}
	a.back = time.Since(w.f.begin)
	return a
}

func (w *world) unlock(p *person) {
	a := w.asOperator(admin.PathUserUnlock, admin.Name{Name: p.name})
	w.h.user(p.name, act{kind: actClear}, a)
}

// settle records what is known about a session.
func (w *world) settle(token string, to fate) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fates[token] = max(to, w.fates[token])
}

// logOut ends a session, sometimes on two replicas concurrently.
func (w *world) logOut(p *person, token string) {
	w.settle(token, unclear)
	var wait sync.WaitGroup
	first := w.f.anywhere()
	for i := range 1 + rand.IntN(2) {
		wait.Go(func() {
			a := w.known(w.f.logOut((first+i)%len(w.f.replicas), token))
			w.h.session(token, actEnd, a)
			if !a.ambiguous() {
				w.settle(token, ended)
			}
		})
	}
	wait.Wait()
	if w.fateOf(token) == ended {
		p.sessions = slices.DeleteFunc(p.sessions, func(s string) bool { return s == token })
	}
}

func (w *world) fateOf(token string) fate {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.fates[token]
}

// reset changes the password, and repeats the request until it gets the new one.
func (w *world) reset(ctx context.Context, p *person) {
	key := fmt.Sprint(p.name, "-", p.version)
	call, again := time.Since(w.f.begin), false
	for _, token := range p.sessions {
		w.settle(token, unclear)
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
			// If the first response was ambiguous, the sessions may end later.
			if again {
				a.outcome = lost
			}
			for _, token := range p.sessions {
				w.h.note(w.h.sessions, token, act{kind: actEnded, by: p.name}, a)
				if !again {
					w.settle(token, ended)
				}
			}
			p.password, p.sessions = a.text, nil
			return
		case a.ambiguous():
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
			a.outcome = lost
			w.h.user(p.name, act{kind: actReset, password: p.version + 1}, a)
			for _, token := range p.sessions {
				w.h.note(w.h.sessions, token, act{kind: actEnded, by: p.name}, a)
			}
			return
		}
		pause(50 * time.Millisecond)
	}
}

// use sends random requests of a person until ctx is done.
func (w *world) use(ctx context.Context, p *person) {
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

// attack guesses the password of a person until a response is ambiguous.
func (w *world) attack(ctx context.Context, p *person) {
	for ctx.Err() == nil && !w.guess(p).ambiguous() {
		pause(rand.N(150 * time.Millisecond))
	}
}

// look checks random sessions on random replicas.
func (w *world) look(ctx context.Context) {
	for ctx.Err() == nil && !w.t.Failed() {
		w.mu.Lock()
		token := w.tokens[max(0, len(w.tokens)-1-rand.IntN(60))] // mostly new ones, so that each is checked often
		if rand.IntN(10) == 0 {
			token = w.tokens[rand.IntN(len(w.tokens))]
		}
		w.mu.Unlock()
		_ = w.check(w.f.anywhere(), token) // it is recorded
		pause(rand.N(6 * time.Millisecond))
	}
}

// check checks a session, at the gateway also with a request to the upstream.
func (w *world) check(replica int, token string) response {
	call := w.f.check
	if replica == w.gateway && rand.IntN(2) == 0 {
		return w.forward(token)
	}
	a := w.known(call(replica, token))
	w.h.session(token, actCheck, a)
	return a
}

func (w *world) forward(token string) response {
	a := w.known(w.f.forward(w.gateway, token))
	w.h.session(token, actCheck, a)
	return a
}

// fault is a fault and its repair.
type fault struct {
	name   string
	inject func()
	heal   func() // returns when the server is available again
}

// endureOnce uses the replicas during a fault. It returns how long it took from the end of the
// fault until every replica was available.
func (w *world) endureOnce(round int, broken fault) time.Duration {
	w.t.Helper()
	const people, lookers = 3, 4
	calm := choose(200*time.Millisecond, 500*time.Millisecond)
	trouble := choose(600*time.Millisecond, 1500*time.Millisecond)
	ctx, stop := context.WithCancel(w.t.Context())
	defer stop()
	var crowd sync.WaitGroup
	for i := range people {
		p := w.newPerson(fmt.Sprint(strings.ReplaceAll(broken.name, " ", "-"), round, ".", i))
		crowd.Go(func() { w.use(ctx, p) })
		crowd.Go(func() { w.attack(ctx, p) })
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
		await(w.t, fmt.Sprint("after ", broken.name, " replica ", i, " is available"), func() error {
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
		w.t.Errorf("after %s, all replicas are available after %v", broken.name, recovery)
	}
	pause(calm)
	stop()
	crowd.Wait()
	return recovery
}

// endure uses the replicas during several faults, one after the other, and checks the history.
func (w *world) endure(rounds int, stale time.Duration, faults ...fault) {
	w.t.Helper()
	for _, broken := range faults {
		var took []time.Duration
		for round := range rounds {
			if w.t.Failed() {
				break
			}
			took = append(took, w.endureOnce(round, broken).Round(100*time.Microsecond))
		}
		slices.Sort(took)
		if len(took) > 0 {
			w.t.Logf("%s: %d times, all replicas are available after %v at most (median %v)",
				broken.name, len(took), took[len(took)-1], took[len(took)/2])
		}
	}
	w.finish(stale)
}

// finish checks the final state on every replica, and the history.
func (w *world) finish(stale time.Duration) {
	w.t.Helper()
	names := w.f.users()
	for _, p := range w.people {
		if !names[p.name] {
			w.t.Errorf("%s was added and is missing", p.name)
		}
	}
	pause(stale)
	// If the database fails right after a reset, the service logs that it ends the other sessions
	// later.
	late := map[string]bool{}
	for _, r := range w.f.replicas {
		for _, match := range endedLater.FindAllStringSubmatch(r.log.String(), -1) {
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
			case a.ambiguous():
				w.t.Errorf("at the end: %v", a)
			case f == alive && a.outcome != ok:
				w.t.Errorf("a live session is lost: %v", a)
			case f == ended && a.outcome != expired && !w.h.endedLate(token, late):
				w.t.Errorf("a session that has ended is accepted: %v", a)
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
			undecided++ // attempts that were cut off hold strikes for a while
		}
	}
	w.t.Logf("at the end: %d accounts, of which %d could not log in; %d checked sessions, %d alive, %d ended, %d unclear",
		len(w.people), undecided, counts[alive]+counts[ended]+counts[unclear], counts[alive], counts[ended], counts[unclear])
	if n := w.h.late(late); n > 0 {
		w.t.Logf("resets of %d users ended %d sessions later", len(late), n)
	}
	w.h.check(w.t, stale)
}

var endedLater = regexp.MustCompile(regexp.QuoteMeta(authority.LogSessionsEndLater) + `" user=(\S+)`)
