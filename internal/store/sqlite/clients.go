package sqlite

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/store"
)

// There are few API clients, and one is looked up for every request. So all of them are
// in memory, in a map that is replaced as a whole when one changes.

func (db *DB) loadClients(ctx context.Context) error {
	all, err := db.AllClients(ctx)
	if err != nil {
		return db.cannot("read", err)
	}
	db.clients.Store(&all)
	return nil
}

// keepClient puts a committed client into the map. Only the writer calls it.
func (db *DB) keepClient(client authority.Client) {
	all := maps.Clone(*db.clients.Load())
	all[client.ID] = client
	db.clients.Store(&all)
}

// CreateClient implements authority.ClientStore.
func (db *DB) CreateClient(ctx context.Context, client authority.Client) error {
	client.CreatedAt = store.Moment(store.Micros(client.CreatedAt))
	client.TokenIssuedAt = store.Moment(store.Micros(client.TokenIssuedAt))
	return db.writer.write(ctx,
		func(t store.Tx) error { return store.InsertClient(t, client) },
		func() { db.keepClient(client) })
}

// Client implements authority.ClientStore.
func (db *DB) Client(_ context.Context, id authority.ClientID) (authority.Client, error) {
	client, ok := (*db.clients.Load())[id]
	if !ok {
		return authority.Client{}, authority.ErrNotFound
	}
	return client, nil
}

// Clients implements authority.ClientStore.
func (db *DB) Clients(context.Context) ([]authority.Client, error) {
	byKey := func(a, b authority.Client) int { return strings.Compare(a.Key, b.Key) }
	return slices.SortedFunc(maps.Values(*db.clients.Load()), byKey), nil
}

// UpdateClient implements authority.ClientStore.
func (db *DB) UpdateClient(
	ctx context.Context, id authority.ClientID, change func(*authority.Client) error) (authority.Client, error,
) {
	var client authority.Client
	err := db.writer.write(ctx, func(t store.Tx) (err error) {
		// From the table, not the map: a change before this one in the same
		// batch is not in the map yet.
		client, err = store.UpdateClient(t, id, change)
		return err
	}, func() { db.keepClient(client) })
	if err != nil {
		return authority.Client{}, err
	}
	return client, nil
}
