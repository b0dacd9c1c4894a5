package postgres

import (
	"context"
	"errors"
	"sync"
	"time"
)

// maxWaiting bounds the calls that wait in a batcher.
const maxWaiting = 4096

// errClosed is returned for calls after Close.
var errClosed = errors.New("the database is closed")

// errFull is returned if too many calls wait.
var errFull = errors.New("too many requests wait for the database")

// batcher runs the calls of many callers together: a worker takes all calls that wait and
// runs them at once. Under low load no call waits for another; under high load a round trip
// costs little for each.
type batcher[Q, A any] struct {
	limit   int           // how many calls one run takes at most
	timeout time.Duration // of a run
	// run returns one A for each Q, in order.
	run func(context.Context, []Q) ([]A, error)

	queue chan *call[Q, A]
	done  chan struct{}
	tasks sync.WaitGroup
}

type call[Q, A any] struct {
	ctx    context.Context //nolint:containedctx // the caller may have left when the call runs
	what   Q
	result chan result[A]
}

type result[A any] struct {
	value A
	err   error
}

// start starts so many workers, which run until stop.
func (g *batcher[Q, A]) start(workers int) {
	g.queue = make(chan *call[Q, A], maxWaiting)
	g.done = make(chan struct{})
	for range workers {
		g.tasks.Go(g.work)
	}
}

// stop returns when the workers have ended. Calls that wait return errClosed.
func (g *batcher[Q, A]) stop() {
	if g.done != nil {
		close(g.done)
		g.tasks.Wait()
	}
}

// do returns the result for what, or the error of the run. If ctx ends first, do returns its
// error, and what was requested may happen or not.
func (g *batcher[Q, A]) do(ctx context.Context, what Q) (value A, err error) {
	a := &call[Q, A]{ctx: ctx, what: what, result: make(chan result[A], 1)}
	select {
	case g.queue <- a:
	default:
		return value, errFull
	}
	select {
	case got := <-a.result:
		return got.value, got.err
	case <-ctx.Done():
		return value, ctx.Err()
	case <-g.done:
		return value, errClosed
	}
}

func (g *batcher[Q, A]) work() {
	for {
		select {
		case first := <-g.queue:
			g.serve(g.take(first))
		case <-g.done:
			return
		}
	}
}

// take returns the calls that wait, without those whose callers have left.
func (g *batcher[Q, A]) take(first *call[Q, A]) []*call[Q, A] {
	batch := []*call[Q, A]{first}
	for len(batch) < g.limit {
		select {
		case next := <-g.queue:
			if next.ctx.Err() == nil {
				batch = append(batch, next)
			}
		default:
			return batch
		}
	}
	return batch
}

func (g *batcher[Q, A]) serve(batch []*call[Q, A]) {
	what := make([]Q, len(batch))
	for i, a := range batch {
		what[i] = a.what
	}
	ctx, cancel := context.WithTimeout(context.Background(), g.timeout)
	defer cancel()
	values, err := g.run(ctx, what)
	for i, a := range batch {
		got := result[A]{err: err}
		if err == nil {
			got.value = values[i]
		}
		a.result <- got
	}
}
