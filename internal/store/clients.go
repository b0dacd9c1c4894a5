package store

import (
	"context"

	"github.com/latchkey/latchkey/internal/authority"
)

const clientColumns = `id, api_key, secret_hash, label, revoked, created_at, token_serial, token_issued_at`

func scanClient(r Row) (authority.Client, error) {
	var (
		client                   authority.Client
		id, hash                 []byte
		created, issued, revoked int64
	)
	err := r.Scan(&id, &client.Key, &hash, &client.Label, &revoked, &created, &client.TokenSerial, &issued)
	copy(client.ID[:], id)
	copy(client.SecretHash[:], hash)
	client.CreatedAt, client.TokenIssuedAt, client.Revoked = Moment(created), Moment(issued), revoked != 0
	return client, err
}

// AllClients returns every client by its ID.
func (db *Tables) AllClients(ctx context.Context) (map[authority.ClientID]authority.Client, error) {
	all := map[authority.ClientID]authority.Client{}
	err := db.engine.Query(ctx, func(r Row) error {
		client, err := scanClient(r)
		all[client.ID] = client
		return err
	}, `SELECT `+clientColumns+` FROM clients`)
	return all, err
}

// InsertClient adds a client, or returns authority.ErrExists.
func InsertClient(t Tx, client authority.Client) error {
	n, err := t.Exec(`INSERT INTO clients (`+clientColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
		client.ID[:], client.Key, client.SecretHash[:], client.Label, boolToInt(client.Revoked),
		Micros(client.CreatedAt), client.TokenSerial, Micros(client.TokenIssuedAt))
	return RequireChange(n, err, authority.ErrExists)
}

// UpdateClient locks, reads, changes and writes a client.
func UpdateClient(
	t Tx, id authority.ClientID, change func(*authority.Client) error) (client authority.Client, err error,
) {
	found := false
	err = t.QueryLocked(func(r Row) (err error) {
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
	client.TokenIssuedAt = Moment(Micros(client.TokenIssuedAt))
	_, err = t.Exec(`UPDATE clients
		SET secret_hash = ?, label = ?, revoked = ?, token_serial = ?, token_issued_at = ? WHERE id = ?`,
		client.SecretHash[:], client.Label, boolToInt(client.Revoked), client.TokenSerial,
		Micros(client.TokenIssuedAt), id[:])
	return client, err
}
