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
	// Every caller in the queue holds a connection anyway. maxQueued bounds them all: it is
	// divided among the API clients that have callers in the queue.
	maxQueued = 4096
	// maxQueuedPerName bounds the callers of one API client that wait for one user name.
	maxQueuedPerName = 64
)

// loginQueue orders the attempts on one user name. Of each API client, only the first of them
// tries to reserve a strike, so that a thousand that wait cost no more than one, and no client
// waits behind the attempts of another. A name without attempts takes no memory.
type loginQueue struct {
	share    int // of one client; see newLoginQueue
	mu       sync.Mutex
	queued   int
	byKey    map[StrikeKey]*keyQueue
	byClient map[string]int // callers in the queue
	// How many callers were refused, by the bound: those of one client, and of one name.
	refusedClient, refusedName int64
}

// keyQueue is the queue of one user name.
type keyQueue struct {
	clients map[string]*clientQueue // guarded by loginQueue.mu
	settled chan struct{}           // holds a token if an attempt was settled since the last look
}

// clientQueue holds the callers of one API client that wait for one user name.
type clientQueue struct {
	key    StrikeKey
	client string
	name   *keyQueue
	queued int           // guarded by loginQueue.mu
	first  chan struct{} // holds one token while a caller is first
}

// newLoginQueue returns a queue that holds up to share callers of one API client.
func newLoginQueue(share int) *loginQueue {
	return &loginQueue{share: share, byKey: map[StrikeKey]*keyQueue{}, byClient: map[string]int{}}
}

// enter returns when the caller is the first of its API client in the queue of the key, and
// must leave it. It returns ErrOverloaded if the client has too many callers in the queue.
func (q *loginQueue) enter(ctx context.Context, client string, key StrikeKey) (*clientQueue, error) {
	c := q.place(client, key)
	if c == nil {
		return nil, ErrOverloaded
	}
	select {
	case c.first <- struct{}{}:
		return c, nil
	case <-ctx.Done():
		q.remove(c)
		return nil, unavailable(ctx.Err())
	}
}

// place adds a caller, or returns nil if its API client has too many.
func (q *loginQueue) place(client string, key StrikeKey) *clientQueue {
	q.mu.Lock()
	defer q.mu.Unlock()
	k := q.byKey[key]
	if k == nil {
		k = &keyQueue{clients: map[string]*clientQueue{}, settled: make(chan struct{}, 1)}
	}
	c := k.clients[client]
	if c == nil {
		c = &clientQueue{key: key, client: client, name: k, first: make(chan struct{}, 1)}
	}
	if c.queued >= maxQueuedPerName {
		q.refusedName++
		return nil
	}
	clients := len(q.byClient)
	if q.byClient[client] == 0 {
		clients++
	}
	if q.byClient[client] >= min(q.share, max(1, maxQueued/clients)) {
		q.refusedClient++
		return nil
	}
	q.byKey[key], k.clients[client] = k, c
	q.queued++
	q.byClient[client]++
	c.queued++
	return c
}

// leave lets the next caller of the client be first.
func (q *loginQueue) leave(c *clientQueue) {
	<-c.first
	q.remove(c)
}

func (q *loginQueue) remove(c *clientQueue) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.queued--
	if q.byClient[c.client]--; q.byClient[c.client] == 0 {
		delete(q.byClient, c.client)
	}
	if c.queued--; c.queued > 0 {
		return
	}
	delete(c.name.clients, c.client)
	if len(c.name.clients) == 0 {
		delete(q.byKey, c.key)
	}
}

// load adds the queue to l.
func (q *loginQueue) load(l *Load) {
	q.mu.Lock()
	defer q.mu.Unlock()
	l.Waiting += q.queued
	l.RefusedClient, l.RefusedName = q.refusedClient, q.refusedName
}

// settled notifies a caller that is first for the key that a strike may be free.
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
func (c *clientQueue) wait(ctx context.Context) error {
	poll := time.NewTimer(reservePoll)
	defer poll.Stop()
	select {
	case <-c.name.settled:
	case <-poll.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}
