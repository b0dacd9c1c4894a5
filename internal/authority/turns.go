package authority

import (
	"context"
	"sync"
	"time"
)

const (
	// turnPoll is how often the first in line looks whether a strike has become
	// free, for another replica settles without telling us.
	turnPoll = 25 * time.Millisecond
	// Everybody in line holds a connection anyway; these bounds keep one user
	// name from taking all the places.
	maxInLine       = 4096
	maxInLinePerKey = maxInLine / 2
)

// turns lines up the attempts on one user name. Only the first in line asks for
// a strike, so a thousand that wait cost no more than one. A name with nobody in
// line costs nothing.
type turns struct {
	mu     sync.Mutex
	inLine int
	byKey  map[StrikeKey]*turn
}

type turn struct {
	inLine  int           // guarded by turns.mu
	first   chan struct{} // holds one token while somebody is first
	settled chan struct{} // holds a token when a reservation was settled since last looked
}

// take returns when the caller is first in line for the key. It answers
// ErrOverloaded when the line is too long. The caller must leave.
func (w *turns) take(ctx context.Context, key StrikeKey) (*turn, error) {
	w.mu.Lock()
	t := w.byKey[key]
	if t == nil {
		t = &turn{first: make(chan struct{}, 1), settled: make(chan struct{}, 1)}
	}
	if w.inLine >= maxInLine || t.inLine >= maxInLinePerKey {
		w.mu.Unlock()
		return nil, ErrOverloaded
	}
	if w.byKey == nil {
		w.byKey = map[StrikeKey]*turn{}
	}
	w.byKey[key] = t
	w.inLine++
	t.inLine++
	w.mu.Unlock()
	select {
	case t.first <- struct{}{}:
		return t, nil
	case <-ctx.Done():
		w.goneFrom(key, t)
		return nil, unavailable(ctx.Err())
	}
}

// leave lets the next in line be first.
func (w *turns) leave(key StrikeKey, t *turn) {
	<-t.first
	w.goneFrom(key, t)
}

func (w *turns) goneFrom(key StrikeKey, t *turn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.inLine--
	if t.inLine--; t.inLine == 0 {
		delete(w.byKey, key)
	}
}

// waiting counts those in line.
func (w *turns) waiting() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.inLine
}

// wait returns when a strike may have become free.
func (t *turn) wait(ctx context.Context) error {
	poll := time.NewTimer(turnPoll)
	defer poll.Stop()
	select {
	case <-t.settled:
	case <-poll.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// settled tells the first in line for the key that a strike may have become
// free.
func (w *turns) settled(key StrikeKey) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if t := w.byKey[key]; t != nil {
		select {
		case t.settled <- struct{}{}:
		default:
		}
	}
}
