package authority

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"time"

	"github.com/latchkey/latchkey/internal/secret"
)

// Credentials are an API key and its secret. The secret is returned once, when it is made.
type Credentials struct {
	Key    string
	Secret secret.Text
}

// Clients lists the API clients by key.
func (a *Authority) Clients(ctx context.Context) ([]Client, error) {
	clients, err := a.stores.Clients.Clients(ctx)
	return clients, unavailable(err)
}

// AddClient creates an API client with a generated key and secret.
func (a *Authority) AddClient(ctx context.Context, label string, origin Origin) (Credentials, error) {
	key := make([]byte, 12)
	randomBytes(key)
	return a.addClient(ctx, label, Credentials{Key: hex.EncodeToString(key), Secret: generateSecret()}, origin)
}

// AddKnownClient creates an API client whose key and secret are public, for demonstrations
// and tests. It returns ErrExists if the key is taken.
func (a *Authority) AddKnownClient(ctx context.Context, label string, credentials Credentials, origin Origin) error {
	if err := checkName("API key", credentials.Key); err != nil {
		return err
	}
	_, err := a.addClient(ctx, label, credentials, origin)
	return err
}

func (a *Authority) addClient(
	ctx context.Context, label string, credentials Credentials, origin Origin) (Credentials, error,
) {
	if err := checkName("label", label); err != nil {
		return Credentials{}, err
	}
	client := Client{
		ID:         clientID(credentials.Key),
		Key:        credentials.Key,
		SecretHash: sha256.Sum256([]byte(credentials.Secret.Reveal())),
		Label:      label,
		CreatedAt:  a.now(),
	}
	if err := a.stores.Clients.CreateClient(ctx, client); err != nil {
		return Credentials{}, adminError(err)
	}
	a.record(ctx, origin, Event{Kind: EventClientAdded, Detail: client.Key})
	return credentials, nil
}

// RotateClient gives an API client a new secret. The old secret and the access
// token end at once.
func (a *Authority) RotateClient(ctx context.Context, key string, origin Origin) (Credentials, error) {
	credentials := Credentials{Key: key, Secret: generateSecret()}
	err := a.changeClient(ctx, key, func(client *Client) {
		client.SecretHash = sha256.Sum256([]byte(credentials.Secret.Reveal()))
		client.TokenIssuedAt = time.Time{}
	}, origin, EventClientRotated)
	if err != nil {
		return Credentials{}, err
	}
	return credentials, nil
}

// EndAccessToken ends the client's access token, if it has one. The client's next request
// for a token gets a new one.
func (a *Authority) EndAccessToken(ctx context.Context, key string, origin Origin) error {
	return a.changeClient(ctx, key, func(client *Client) { client.TokenIssuedAt = time.Time{} }, origin, EventTokenRevoked)
}

// RevokeClient revokes an API client and its access token permanently.
func (a *Authority) RevokeClient(ctx context.Context, key string, origin Origin) error {
	return a.changeClient(ctx, key, func(client *Client) {
		client.Revoked = true
		client.TokenIssuedAt = time.Time{}
	}, origin, EventClientRevoked)
}

func (a *Authority) changeClient(
	ctx context.Context, key string, change func(*Client), origin Origin, kind EventKind,
) error {
	_, err := a.stores.Clients.UpdateClient(ctx, clientID(key), func(client *Client) error {
		if client.Revoked {
			return ErrNotFound
		}
		change(client)
		return nil
	})
	if err != nil {
		return adminError(err)
	}
	a.record(ctx, origin, Event{Kind: kind, Detail: key})
	return nil
}

// generateSecret returns 256 random bits.
func generateSecret() secret.Text {
	b := make([]byte, 32)
	randomBytes(b)
	return secret.Text(base64.RawURLEncoding.EncodeToString(b))
}
