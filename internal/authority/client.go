package authority

import (
	"crypto/sha256"
	"time"
)

// ClientID is what clients are stored and looked up under: the first eight
// bytes of the SHA-256 of their API key.
type ClientID [8]byte

// Client is a program that may call the API: an API key and its secret.
type Client struct {
	ID         ClientID
	Key        string // public
	SecretHash [sha256.Size]byte
	Label      string // what the operator calls it
	Revoked    bool
	CreatedAt  time.Time
	// TokenSerial counts the access tokens issued, from a random number on; only the last one is valid,
	// and only while TokenIssuedAt is set and less than an hour ago.
	TokenSerial   int64
	TokenIssuedAt time.Time
}

// clientID returns what the client with this API key is stored under.
func clientID(key string) ClientID {
	sum := sha256.Sum256([]byte(key))
	return ClientID(sum[:len(ClientID{})])
}
