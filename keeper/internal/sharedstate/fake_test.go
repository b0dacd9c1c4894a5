package sharedstate_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/latchkey/latchkey/keeper/internal/sharedstate"
)

// database is a row in memory. Its time is that of the bubble.
type database struct {
	mu     sync.Mutex
	row    sharedstate.Row
	holder string
	epoch  int64
	until  time.Time
	takes  int
}

// link is a replica's way to the database. trouble, if set, befalls each call: it
// may end the call with an error, before or after do has done its work.
type link struct {
	*database

	lock    sync.Mutex // guards trouble
	trouble func(ctx context.Context, do func()) error
}

var errCut = errors.New("the link is cut")

func cut(context.Context, func()) error { return errCut }

func answerLost(_ context.Context, do func()) error {
	do()
	return errCut
}

func silent(ctx context.Context, _ func()) error {
	<-ctx.Done()
	return ctx.Err()
}

// suffer has trouble befall the calls from now on; nil has none.
func (l *link) suffer(trouble func(context.Context, func()) error) {
	l.lock.Lock()
	defer l.lock.Unlock()
	l.trouble = trouble
}

func (l *link) call(ctx context.Context, work func()) error {
	do := func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		work()
	}
	l.lock.Lock()
	trouble := l.trouble
	l.lock.Unlock()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if trouble != nil {
		return trouble(ctx, do)
	}
	do()
	return nil
}

func (l *link) Load(ctx context.Context) (row sharedstate.Row, err error) {
	err = l.call(ctx, func() { row = l.row })
	return row, err
}

func (l *link) Touch(ctx context.Context, at time.Time) error {
	return l.call(ctx, func() {
		if at.After(l.row.LastUse) {
			l.row.LastUse = at
		}
	})
}

func (l *link) Take(ctx context.Context, holder string, ttl time.Duration) (epoch int64, err error) {
	err = l.call(ctx, func() {
		l.takes++
		if l.holder != holder {
			if l.holder != "" && time.Now().Before(l.until) {
				return
			}
			l.holder = holder
			l.epoch++
		}
		l.until, epoch = time.Now().Add(ttl), l.epoch
	})
	return epoch, err
}

func (l *link) Save(
	ctx context.Context, claim sharedstate.Claim, sealed []byte, ttl time.Duration,
) (ours bool, err error) {
	err = l.call(ctx, func() {
		if ours = l.holder == claim.Holder && l.epoch <= claim.Epoch; ours {
			l.row.Sealed, l.epoch, l.until = sealed, claim.Epoch, time.Now().Add(ttl)
		}
	})
	return ours, err
}

func (l *link) Extend(ctx context.Context, holder string, ttl time.Duration) (ours bool, err error) {
	err = l.call(ctx, func() {
		if ours = l.holder == holder; !ours {
			return
		}
		if l.until = time.Now().Add(ttl); ttl == 0 {
			l.holder = ""
		}
	})
	return ours, err
}

// replica returns a State of its own over the database, and its link.
func replica(t *testing.T, d *database) (*sharedstate.State, *link) {
	t.Helper()
	l := &link{database: d}
	s, err := sharedstate.New(t.Context(), l, sharedstate.Config{
		Name: "zbeeblebrox", Key: []byte("a key of the tests: 32 bytes long"), TTL: sharedstate.TTL,
		Where: "memory", Remove: "forget it",
	})
	if err != nil {
		t.Fatal(err)
	}
	return s, l
}
