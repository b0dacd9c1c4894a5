package postgres

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/store"
)

// clientCache is every API client, as of a moment.
type clientCache struct {
	refreshing sync.Mutex // held while the database is queried
	behind     atomic.Bool
	now        atomic.Pointer[clientsAt]
}

// clientsAt is valid while a heartbeat is (sessioncache.go) and no client has changed, and in
// any case for authority.MaxStaleness.
type clientsAt struct {
	asked    time.Duration // by the clock of the cache; everything committed before is included
	changes  int64         // the notifications of changes that had been received then
	revision int64
	all      map[authority.ClientID]authority.Client
}

// Client implements authority.ClientStore.
func (db *DB) Client(ctx context.Context, id authority.ClientID) (authority.Client, error) {
	beat := db.cache.beat.Load() // before the notifications are counted
	at := db.clients.now.Load()
	if at.changes != db.cache.clients.Load() || !db.cache.trusts(beat) {
		var err error
		if at, err = db.recentClients(ctx, at); err != nil {
			return authority.Client{}, err
		}
	}
	client, ok := at.all[id]
	if !ok {
		return authority.Client{}, authority.ErrNotFound
	}
	return client, nil
}

// recentClients returns the clients as of MaxStaleness ago at most, without notifications.
func (db *DB) recentClients(ctx context.Context, at *clientsAt) (*clientsAt, error) {
	switch age := db.cache.clock() - at.asked; {
	case age > authority.MaxStaleness:
		if err := db.refreshClients(ctx); err != nil {
			return nil, err
		}
		return db.clients.now.Load(), nil
	case age > authority.MaxStaleness/2 && db.clients.behind.CompareAndSwap(false, true):
		db.tasks.Go(func() {
			defer db.clients.behind.Store(false)
			_ = db.refreshClients(context.Background()) // a caller that needs it reports the error
		})
	}
	return at, nil
}

// refreshClients reads the clients as they are at the call, or later.
func (db *DB) refreshClients(ctx context.Context) error {
	called := db.cache.clock()
	db.clients.refreshing.Lock()
	defer db.clients.refreshing.Unlock()
	at := db.clients.now.Load()
	if at != nil && at.asked >= called {
		return nil // another caller has read them in the meantime
	}
	next := &clientsAt{asked: db.cache.clock(), changes: db.cache.clients.Load()}
	revision, err := db.revision(ctx, "clients")
	if err != nil {
		return err
	}
	// After a notification the number may be that of a database which was restored in the
	// meantime.
	if next.revision = revision; at != nil && at.revision == revision && at.changes == next.changes {
		next.all = at.all
	} else if next.all, err = db.AllClients(ctx); err != nil {
		return err
	}
	db.clients.now.Store(next)
	return nil
}

func (db *DB) revision(ctx context.Context, name string) (value int64, err error) {
	err = db.engine.Query(ctx, func(r store.Row) error { return r.Scan(&value) },
		`SELECT value FROM revisions WHERE name = ?`, name)
	return value, err
}

// Clients implements authority.ClientStore.
func (db *DB) Clients(ctx context.Context) ([]authority.Client, error) {
	all, err := db.AllClients(ctx)
	byKey := func(a, b authority.Client) int { return strings.Compare(a.Key, b.Key) }
	return slices.SortedFunc(maps.Values(all), byKey), err
}

// CreateClient implements authority.ClientStore.
func (db *DB) CreateClient(ctx context.Context, client authority.Client) error {
	return db.writeClients(ctx, func(t store.Tx) error { return store.InsertClient(t, client) })
}

// UpdateClient implements authority.ClientStore.
func (db *DB) UpdateClient(
	ctx context.Context, id authority.ClientID, change func(*authority.Client) error) (authority.Client, error,
) {
	var client authority.Client
	err := db.writeClients(ctx, func(t store.Tx) (err error) {
		client, err = store.UpdateClient(t, id, change)
		return err
	})
	if err != nil {
		return authority.Client{}, err
	}
	return client, nil
}

// writeClients makes a change, and returns when it is in effect on every replica. If ctx ends
// before that, the change is made nevertheless.
func (db *DB) writeClients(ctx context.Context, change func(store.Tx) error) error {
	err := db.engine.Write(ctx, func(t store.Tx) error {
		if err := change(t); err != nil {
			return err
		}
		_, err := t.Exec(`UPDATE revisions SET value = value + 1 WHERE name = 'clients'`)
		return err
	})
	if err != nil {
		return err
	}
	return waitStale(ctx)
}

// waitStale returns when no replica trusts what it read before the call.
func waitStale(ctx context.Context) error {
	over := time.NewTimer(authority.MaxStaleness)
	defer over.Stop()
	select {
	case <-over.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
