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

// errFull answers what finds no room among what waits.
var errFull = errors.New("too many requests wait for the database")

// batcher does for many callers at once what each asks for alone: a worker takes
// everything that waits and runs it in one go. With little to do nobody waits for
// anybody; with much to do a round trip costs little for each.
type batcher[Q, A any] struct {
	limit   int           // what one run takes at most
	timeout time.Duration // of a run
	// run answers one A for each Q, in order.
	run func(context.Context, []Q) ([]A, error)

	queue chan *asked[Q, A]
	done  chan struct{}
	tasks sync.WaitGroup
}

type asked[Q, A any] struct {
	ctx    context.Context //nolint:containedctx // what waits in a queue may be wanted no more when its turn comes
	what   Q
	answer chan answered[A]
}

type answered[A any] struct {
	value A
	err   error
}

// start begins with so many workers, until stop.
func (g *batcher[Q, A]) start(workers int) {
	g.queue = make(chan *asked[Q, A], maxWaiting)
	g.done = make(chan struct{})
	for range workers {
		g.tasks.Go(g.work)
	}
}

// stop returns when the workers have ended. What waits is answered with
// errClosed.
func (g *batcher[Q, A]) stop() {
	if g.done != nil {
		close(g.done)
		g.tasks.Wait()
	}
}

// ask returns the answer, or the error of the run. When ctx ends first, it returns
// its error; what was asked for may happen or not.
func (g *batcher[Q, A]) ask(ctx context.Context, what Q) (value A, err error) {
	a := &asked[Q, A]{ctx: ctx, what: what, answer: make(chan answered[A], 1)}
	select {
	case g.queue <- a:
	default:
		return value, errFull
	}
	select {
	case got := <-a.answer:
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

// take gathers what waits already, less what is wanted no more.
func (g *batcher[Q, A]) take(first *asked[Q, A]) []*asked[Q, A] {
	batch := []*asked[Q, A]{first}
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

func (g *batcher[Q, A]) serve(batch []*asked[Q, A]) {
	what := make([]Q, len(batch))
	for i, a := range batch {
		what[i] = a.what
	}
	ctx, cancel := context.WithTimeout(context.Background(), g.timeout)
	defer cancel()
	values, err := g.run(ctx, what)
	for i, a := range batch {
		got := answered[A]{err: err}
		if err == nil {
			got.value = values[i]
		}
		a.answer <- got
	}
}
