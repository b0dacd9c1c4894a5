package sqlstore

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/latchkey/latchkey/internal/authority"
)

// API clients are few and looked up for every request, so all of them are in
// memory, in a map that is replaced whole when one changes.

const clientColumns = `id, api_key, secret_hash, label, revoked, created_at, token_serial, token_issued_at`

func scanClient(r row) (authority.Client, error) {
	var (
		client                   authority.Client
		id, hash                 []byte
		created, issued, revoked int64
	)
	err := r.Scan(&id, &client.Key, &hash, &client.Label, &revoked, &created, &client.TokenSerial, &issued)
	copy(client.ID[:], id)
	copy(client.SecretHash[:], hash)
	client.CreatedAt, client.TokenIssuedAt, client.Revoked = moment(created), moment(issued), revoked != 0
	return client, err
}

// allClients reads every client.
func (db *tables) allClients(ctx context.Context) (map[authority.ClientID]authority.Client, error) {
	all := map[authority.ClientID]authority.Client{}
	err := db.query(ctx, func(r row) error {
		client, err := scanClient(r)
		all[client.ID] = client
		return err
	}, `SELECT `+clientColumns+` FROM clients`)
	return all, err
}

func insertClient(t tx, client authority.Client) error {
	n, err := t.exec(`INSERT INTO clients (`+clientColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
		client.ID[:], client.Key, client.SecretHash[:], client.Label, number(client.Revoked),
		micros(client.CreatedAt), client.TokenSerial, micros(client.TokenIssuedAt))
	return wanted(n, err, authority.ErrExists)
}

// changeClient reads, changes and writes a client, which is locked meanwhile.
func changeClient(t tx, id authority.ClientID, change func(*authority.Client) error) (client authority.Client, err error) {
	found := false
	err = t.locked(func(r row) (err error) {
		client, err = scanClient(r)
		found = true
		return err
	}, `SELECT `+clientColumns+` FROM clients WHERE id = ?`, id[:])
	if err != nil {
		return client, err
	}
	if !found {
		return client, authority.ErrNotFound
	}
	if err := change(&client); err != nil {
		return client, err
	}
	client.TokenIssuedAt = moment(micros(client.TokenIssuedAt))
	_, err = t.exec(`UPDATE clients SET secret_hash = ?, label = ?, revoked = ?, token_serial = ?, token_issued_at = ? WHERE id = ?`,
		client.SecretHash[:], client.Label, number(client.Revoked), client.TokenSerial, micros(client.TokenIssuedAt), id[:])
	return client, err
}

func (db *DB) loadClients(ctx context.Context) error {
	all, err := db.allClients(ctx)
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
	client.CreatedAt, client.TokenIssuedAt = moment(micros(client.CreatedAt)), moment(micros(client.TokenIssuedAt))
	return db.writer.write(ctx, func(t tx) error { return insertClient(t, client) }, func() { db.keepClient(client) })
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
	return slices.SortedFunc(maps.Values(*db.clients.Load()), func(a, b authority.Client) int { return strings.Compare(a.Key, b.Key) }), nil
}

// UpdateClient implements authority.ClientStore.
func (db *DB) UpdateClient(ctx context.Context, id authority.ClientID, change func(*authority.Client) error) (authority.Client, error) {
	var client authority.Client
	err := db.writer.write(ctx, func(t tx) (err error) {
		// From the table, not the map: a change before this one in the same
		// batch is not in the map yet.
		client, err = changeClient(t, id, change)
		return err
	}, func() { db.keepClient(client) })
	if err != nil {
		return authority.Client{}, err
	}
	return client, nil
}
