package server

import (
	"context"
	"sync"
	"time"

	"github.com/latchkey/latchkey/internal/authority"
)

type fake struct {
	authority.UserStore
	authority.StrikeStore
	mu       sync.RWMutex
	clients  map[authority.ClientID]authority.Client
	sessions map[authority.SessionKey]authority.Session
}

func (f *fake) CreateClient(_ context.Context, c authority.Client) error {
	f.clients[c.ID] = c
	return nil
}
func (f *fake) Client(_ context.Context, id authority.ClientID) (authority.Client, error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	c, ok := f.clients[id]
	if !ok {
		return c, authority.ErrNotFound
	}
	return c, nil
}
func (f *fake) Clients(context.Context) ([]authority.Client, error) { return nil, nil }
func (f *fake) UpdateClient(_ context.Context, id authority.ClientID, change func(*authority.Client) error) (authority.Client, error) {
	c := f.clients[id]
	if err := change(&c); err != nil {
		return c, err
	}
	f.clients[id] = c
	return c, nil
}
func (f *fake) CreateSession(_ context.Context, s authority.Session) error {
	f.sessions[s.Key] = s
	return nil
}
func (f *fake) UseSession(_ context.Context, key authority.SessionKey, now time.Time, idle time.Duration) (authority.Session, error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	s, ok := f.sessions[key]
	if !ok {
		return s, authority.ErrNotFound
	}
	return s, nil
}
func (f *fake) EndSession(context.Context, authority.SessionKey, authority.End) (authority.Session, error) {
	return authority.Session{}, nil
}
func (f *fake) EndUserSessions(context.Context, string, int64, authority.SessionKey, authority.End) (int, error) {
	return 0, nil
}
func (f *fake) AppendAudit(context.Context, ...authority.Event) error { return nil }
func (f *fake) AuditEvents(context.Context, authority.AuditQuery) ([]authority.Event, error) {
	return nil, nil
}
