package authority

import (
	"context"
	"sync"
	"time"
)

const (
	// reservePoll is how often the first in the queue tries to reserve a strike: another
	// replica settles attempts without notice.
	reservePoll = 25 * time.Millisecond
	// Every caller in the queue holds a connection anyway. These bounds keep one user
	// name from taking all the places.
	maxQueued       = 4096
	maxQueuedPerKey = maxQueued / 2
)

// loginQueue orders the attempts on one user name. Only the first of them tries to
// reserve a strike, so that a thousand that wait cost no more than one. A name without
// attempts takes no memory.
type loginQueue struct {
	mu     sync.Mutex
	queued int
	byKey  map[StrikeKey]*keyQueue
}

// keyQueue is the queue of one user name.
type keyQueue struct {
	queued  int           // guarded by loginQueue.mu
	first   chan struct{} // holds one token while a caller is first
	settled chan struct{} // holds a token if an attempt was settled since the last look
}

// enter returns when the caller is first in the queue of the key, and must leave it. It
// returns ErrOverloaded if the queue is too long.
func (q *loginQueue) enter(ctx context.Context, key StrikeKey) (*keyQueue, error) {
	q.mu.Lock()
	k := q.byKey[key]
	if k == nil {
		k = &keyQueue{first: make(chan struct{}, 1), settled: make(chan struct{}, 1)}
	}
	if q.queued >= maxQueued || k.queued >= maxQueuedPerKey {
		q.mu.Unlock()
		return nil, ErrOverloaded
	}
	if q.byKey == nil {
		q.byKey = map[StrikeKey]*keyQueue{}
	}
	q.byKey[key] = k
	q.queued++
	k.queued++
	q.mu.Unlock()
	select {
	case k.first <- struct{}{}:
		return k, nil
	case <-ctx.Done():
		q.remove(key, k)
		return nil, unavailable(ctx.Err())
	}
}

// leave lets the next in the queue be first.
func (q *loginQueue) leave(key StrikeKey, k *keyQueue) {
	<-k.first
	q.remove(key, k)
}

func (q *loginQueue) remove(key StrikeKey, k *keyQueue) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.queued--
	if k.queued--; k.queued == 0 {
		delete(q.byKey, key)
	}
}

// len returns how many attempts are in the queue.
func (q *loginQueue) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.queued
}

// settled notifies the first in the queue of the key that a strike may be free.
func (q *loginQueue) settled(key StrikeKey) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if k := q.byKey[key]; k != nil {
		select {
		case k.settled <- struct{}{}:
		default:
		}
	}
}

// wait returns when a strike may be free.
func (k *keyQueue) wait(ctx context.Context) error {
	poll := time.NewTimer(reservePoll)
	defer poll.Stop()
	select {
	case <-k.settled:
	case <-poll.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}
