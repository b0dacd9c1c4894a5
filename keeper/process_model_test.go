package keeper_test

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/credential"
	"github.com/latchkey/latchkey/keeper"
)

var (
	errDead = errors.New("model: the process was killed")
	errDisk = errors.New("model: no space left on device")
)

// process is one of several programs with a keeper of its own on a shared state.
// kill ends it as kill -9 does: from then on it does nothing any more, and the
// lease that it held is free.
type process struct {
	shared keeper.State
	keeper *keeper.Keeper
	rt     http.RoundTripper
	clock  *wall // that of its machine; nil for the system's

	mu       sync.Mutex
	dead     chan struct{}
	lease    keeper.Lease // held
	diskFull time.Time    // until then nothing is saved
}

func startProcess(t *testing.T, m *model, shared keeper.State, source credential.Source, clock *wall) *process {
	p := &process{shared: shared, dead: make(chan struct{}), clock: clock}
	config := keeper.Config{State: p, Credential: source}
	if clock != nil {
		config.Now = clock.now
	}
	wire := &processWire{p, m}
	p.keeper = newKeeper(t, wire, config)
	p.rt = p.keeper.Transport(wire)
	return p
}

func (p *process) kill(ctx context.Context) {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.dead)
	if p.lease != nil {
		_ = p.lease.Release(ctx)
		p.lease = nil
	}
}

func (p *process) gone() bool {
	select {
	case <-p.dead:
		return true
	default:
		return false
	}
}

// alive returns a ctx that ends when the process does.
func (p *process) alive(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := make(chan struct{})
	go func() {
		select {
		case <-p.dead:
			cancel(errDead)
		case <-stop:
		}
	}()
	return ctx, func() { close(stop); cancel(nil) }
}

func (p *process) Durable() bool { return p.shared.Durable() }

func (p *process) Load(ctx context.Context) (keeper.Saved, error) {
	if p.gone() {
		return keeper.Saved{}, errDead
	}
	return p.shared.Load(ctx)
}

func (p *process) Touch(ctx context.Context, at time.Time) error {
	if p.gone() {
		return errDead
	}
	return p.shared.Touch(ctx, at)
}

func (p *process) Acquire(ctx context.Context) (keeper.Lease, error) {
	ctx, cancel := p.alive(ctx)
	defer cancel()
	lease, err := p.shared.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone() {
		_ = lease.Release(ctx)
		return nil, errDead
	}
	p.lease = lease
	return (*processLease)(p), nil
}

type processLease process

func (l *processLease) Save(ctx context.Context, data latchkey.Secret) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lease == nil {
		return errDead
	}
	if time.Now().Before(l.diskFull) {
		return errDisk
	}
	return l.lease.Save(ctx, data)
}

func (l *processLease) Release(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lease == nil {
		return errDead
	}
	lease := l.lease
	l.lease = nil
	return lease.Release(ctx)
}

// processWire is the process's way to the upstream.
type processWire struct {
	process *process
	model   *model
}

func (w *processWire) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx, cancel := w.process.alive(req.Context())
	defer cancel()
	resp, err := w.model.RoundTrip(req.WithContext(ctx))
	if w.process.gone() {
		return nil, errDead
	}
	return resp, err
}
