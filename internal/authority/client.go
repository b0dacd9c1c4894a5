package authority

import (
	"crypto/sha256"
	"time"
)

// ClientID identifies a client in a store: the first eight bytes of the SHA-256 of its API
// key.
type ClientID [8]byte

// Client is a program that may call the API: an API key and its secret.
type Client struct {
	ID         ClientID
	Key        string // public
	SecretHash [sha256.Size]byte
	Label      string // set by the operator
	Revoked    bool
	CreatedAt  time.Time
	// TokenSerial counts the access tokens, from a random number on. Only the last one is
	// valid, and only while TokenIssuedAt is set and less than an hour ago.
	TokenSerial   int64
	TokenIssuedAt time.Time
}

// clientID returns the ID of an API key.
func clientID(key string) ClientID {
	sum := sha256.Sum256([]byte(key))
	return ClientID(sum[:len(ClientID{})])
}
