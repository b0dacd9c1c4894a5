package keeper

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/keeper/internal/ledger"
)

// MemoryState is a State that lasts as long as the program. Keepers with the same
// MemoryState share their session and their guard.
//
// It forgets failed logins when the program ends. A supervisor that restarts a program
// which exits on a wrong password will lock the account. Use a FileState except in tests
// and in programs that a person starts.
type MemoryState struct {
	lease chan struct{} // holds one element while the lease is free

	mu    sync.Mutex // guards saved
	saved Saved
}

var _ State = (*MemoryState)(nil)

// NewMemoryState returns an empty MemoryState.
func NewMemoryState() *MemoryState {
	m := &MemoryState{lease: make(chan struct{}, 1)}
	m.lease <- struct{}{}
	return m
}

// Durable returns false.
func (m *MemoryState) Durable() bool { return false }

// Load implements State.
func (m *MemoryState) Load(context.Context) (Saved, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.saved, nil
}

// Touch implements State.
func (m *MemoryState) Touch(_ context.Context, at time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if ledger.Supersedes(at, m.saved.LastUse, time.Now()) {
		m.saved.LastUse = at
	}
	return nil
}

// Acquire implements State.
func (m *MemoryState) Acquire(ctx context.Context) (Lease, error) {
	select {
	case <-m.lease:
		return memoryLease{m}, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("keeper: another login is under way: %w", context.Cause(ctx))
	}
}

// Format implements fmt.Formatter. For every verb it writes the type only.
func (m *MemoryState) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "keeper.MemoryState") }

// memoryLease cannot be lost, because its holder lives as long as the state.
type memoryLease struct{ state *MemoryState }

// Format implements fmt.Formatter. Without it fmt would follow the pointer.
func (l memoryLease) Format(f fmt.State, verb rune) { l.state.Format(f, verb) }

func (l memoryLease) Save(_ context.Context, data latchkey.Secret) error {
	l.state.mu.Lock()
	defer l.state.mu.Unlock()
	l.state.saved.Data = data
	return nil
}

func (l memoryLease) Release(context.Context) error {
	l.state.lease <- struct{}{}
	return nil
}
