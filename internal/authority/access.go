package authority

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"sync/atomic"
	"time"

	"github.com/latchkey/latchkey/internal/secret"
)

// An access token is its client's ID, the serial number of its issue, and a MAC over both
// and the time of issue under the server key. So it need not be stored to be returned again
// within its hour, and a stolen database does not help to make one.
const (
	accessMACBytes  = 24
	accessRawBytes  = len(ClientID{}) + 8 + accessMACBytes
	accessTextBytes = (accessRawBytes*8 + 5) / 6 // base64url without padding
)

// AccessToken is a bearer token and the time at which it expires.
type AccessToken struct {
	Token     secret.Text
	ExpiresAt time.Time
}

// IssueAccessToken returns the client's access token: the one that is still valid, or else
// a new one. It returns ErrInvalidClient for an API key that does not exist, is revoked, or
// has another secret.
func (a *Authority) IssueAccessToken(ctx context.Context, key string, clientSecret secret.Text) (AccessToken, error) {
	client, err := a.identifyClient(ctx, key, clientSecret)
	if err != nil {
		return AccessToken{}, err
	}
	now := a.now()
	if !a.tokenLive(client, now) {
		client, err = a.stores.Clients.UpdateClient(ctx, client.ID, func(c *Client) error {
			if c.Revoked {
				return ErrInvalidClient
			}
			if !a.tokenLive(*c, now) { // else another caller was first
				c.TokenSerial = nextSerial(c.TokenSerial)
				c.TokenIssuedAt = now
			}
			return nil
		})
		if errors.Is(err, ErrInvalidClient) || errors.Is(err, ErrNotFound) {
			return AccessToken{}, ErrInvalidClient
		}
		if err != nil {
			return AccessToken{}, unavailable(err)
		}
	}
	return AccessToken{
		Token:     a.tokens.text(client),
		ExpiresAt: client.TokenIssuedAt.Add(a.policy.AccessTokenLifetime),
	}, nil
}

// nextSerial returns the serial number of the next access token. The first one is random,
// so that a client that is removed and added again with the same key has other tokens.
func nextSerial(serial int64) int64 {
	if serial > 0 {
		return serial + 1
	}
	random := make([]byte, 8)
	randomBytes(random)
	return int64(binary.BigEndian.Uint64(random)>>2) + 1
}

// RevokeAccessToken ends the client's access token, if token is that one, and reports
// whether it was. An invalid token is not an error (RFC 7009, section 2.2).
func (a *Authority) RevokeAccessToken(
	ctx context.Context, key string, clientSecret, token secret.Text, origin Origin) (bool, error,
) {
	client, err := a.identifyClient(ctx, key, clientSecret)
	if err != nil {
		return false, err
	}
	if !a.tokenLive(client, a.now()) || !token.Equal(a.tokens.text(client)) {
		return false, nil
	}
	serial, revoked := client.TokenSerial, false
	_, err = a.stores.Clients.UpdateClient(ctx, client.ID, func(c *Client) error {
		if revoked = c.TokenSerial == serial && !c.TokenIssuedAt.IsZero(); revoked {
			c.TokenIssuedAt = time.Time{}
		}
		return nil
	})
	if err != nil {
		return false, unavailable(err)
	}
	if revoked {
		origin.Client = client.Key
		a.record(ctx, origin, Event{Kind: EventTokenRevoked})
	}
	return revoked, nil
}

// Authenticate returns the client of a bearer token, or ErrInvalidBearer.
func (a *Authority) Authenticate(ctx context.Context, bearer string) (Client, error) {
	id, serial, mac, ok := parseAccessToken(bearer)
	if !ok {
		return Client{}, ErrInvalidBearer
	}
	client, err := a.stores.Clients.Client(ctx, id)
	if errors.Is(err, ErrNotFound) {
		return Client{}, ErrInvalidBearer
	}
	if err != nil {
		return Client{}, unavailable(err)
	}
	want := a.tokens.mac(client)
	if subtle.ConstantTimeCompare(mac[:], want[:]) != 1 || serial != client.TokenSerial ||
		client.Revoked || !a.tokenLive(client, a.now()) {
		return Client{}, ErrInvalidBearer
	}
	return client, nil
}

// tokenLive reports whether a client's token is valid. A token that was issued in the
// future, by a clock that was ahead, is not: when it expires is unknown, and programs fetch
// another one automatically.
func (a *Authority) tokenLive(client Client, now time.Time) bool {
	age := now.Sub(client.TokenIssuedAt)
	return !client.TokenIssuedAt.IsZero() && age < a.policy.AccessTokenLifetime && age >= -tokenSlack
}

// tokenSlack is how far a clock may be put back, in small steps, before access tokens end.
const tokenSlack = time.Minute

// identifyClient returns the client of an API key and its secret. Secrets are generated
// with 256 bits, so that a plain SHA-256 is enough to store them.
func (a *Authority) identifyClient(ctx context.Context, key string, clientSecret secret.Text) (Client, error) {
	client, err := a.stores.Clients.Client(ctx, clientID(key))
	if err != nil && !errors.Is(err, ErrNotFound) {
		return Client{}, unavailable(err)
	}
	sum := sha256.Sum256([]byte(clientSecret.Reveal()))
	same := subtle.ConstantTimeCompare(sum[:], client.SecretHash[:]) == 1
	if err != nil || !same || client.Revoked || client.Key != key {
		return Client{}, ErrInvalidClient
	}
	return client, nil
}

// tokenDeriver computes the MACs of access tokens. One is needed for every request, so it
// caches the latest, one for each slot that a client's ID can select.
type tokenDeriver struct {
	key  []byte
	seen [1024]atomic.Pointer[derivedMAC]
}

// derivedMAC is a MAC and everything that it was computed from.
type derivedMAC struct {
	id       ClientID
	serial   int64
	issuedAt int64
	mac      [accessMACBytes]byte
}

func (d *tokenDeriver) mac(client Client) [accessMACBytes]byte {
	issuedAt := client.TokenIssuedAt.UnixMicro()
	// The ID is part of a SHA-256, so any of its bits will do.
	place := &d.seen[(int(client.ID[0])<<8|int(client.ID[1]))%len(d.seen)]
	if m := place.Load(); m != nil && m.id == client.ID && m.serial == client.TokenSerial && m.issuedAt == issuedAt {
		return m.mac
	}
	m := &derivedMAC{id: client.ID, serial: client.TokenSerial, issuedAt: issuedAt}
	message := append([]byte("access:"), client.ID[:]...)
	message = binary.BigEndian.AppendUint64(message, uint64(client.TokenSerial)) //nolint:gosec // only its bits matter
	message = binary.BigEndian.AppendUint64(message, uint64(issuedAt))
	hash := hmac.New(sha256.New, d.key)
	hash.Write(message)
	copy(m.mac[:], hash.Sum(nil))
	place.Store(m)
	return m.mac
}

func (d *tokenDeriver) text(client Client) secret.Text {
	raw := make([]byte, 0, accessRawBytes)
	raw = append(raw, client.ID[:]...)
	raw = binary.BigEndian.AppendUint64(raw, uint64(client.TokenSerial)) //nolint:gosec // only its bits matter
	mac := d.mac(client)
	return secret.Text(base64.RawURLEncoding.EncodeToString(append(raw, mac[:]...)))
}

// parseAccessToken returns the parts of a token. It does not verify them.
func parseAccessToken(text string) (id ClientID, serial int64, mac [accessMACBytes]byte, ok bool) {
	if len(text) != accessTextBytes {
		return id, 0, mac, false
	}
	var source [accessTextBytes]byte
	var raw [accessRawBytes]byte
	copy(source[:], text)
	if n, err := strictBase64.Decode(raw[:], source[:]); err != nil || n != accessRawBytes {
		return id, 0, mac, false
	}
	copy(id[:], raw[:])
	serial = int64(binary.BigEndian.Uint64(raw[len(id):])) //nolint:gosec // only its bits matter
	copy(mac[:], raw[len(id)+8:])
	return id, serial, mac, true
}

var strictBase64 = base64.RawURLEncoding.Strict()
