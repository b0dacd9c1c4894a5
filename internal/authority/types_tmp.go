package authority

import (
	"crypto/sha256"
	"encoding/hex"
	"time"
)

// SessionKey is what a store knows of a session token: its SHA-256. A stolen
// database opens no session.
type SessionKey [sha256.Size]byte

// ID is the public name of the session, for logs, listings and the audit trail:
// the first eight bytes of the key in hex. It opens nothing.
func (k SessionKey) ID() string { return hex.EncodeToString(k[:8]) }

// Session is a logged-in user.
type Session struct {
	Key             SessionKey
	User            string
	PasswordVersion int64
	Client          string // the API key of the client that logged in
	Address         string // where the login came from; may be empty
	CreatedAt       time.Time
	LastUsedAt      time.Time
	ExpiresAt       time.Time // absolute end; zero means none
	End             End       // zero while the session lives
}

// End says when, why and by whom a session was ended.
type End struct {
	At     time.Time
	Reason Reason
	By     string // the user, or the operator
}

// Reason says why a session ended.
type Reason string

// The reasons.
const (
	ReasonLogout   Reason = "logout"
	ReasonExpired  Reason = "expired"
	ReasonReset    Reason = "password-reset"
	ReasonAdmin    Reason = "operator"
	ReasonReplaced Reason = "replaced" // by a newer login, where the policy says so
)

// StrikeKey names what strikes are counted for: the SHA-256 of a user name,
// whether or not somebody has that name. It is a hash because people type
// passwords into the wrong field.
type StrikeKey [sha256.Size]byte

// Strikes are the failed logins in a row of one user name.
type Strikes struct {
	Failures int
	LockedAt time.Time // zero: not locked
	Manual   bool      // locked by an operator, so no timed unlock applies
}

// StrikeLimit is the rule that a reservation is made under.
type StrikeLimit struct {
	Max         int           // the failure that locks
	UnlockAfter time.Duration // a lock lifts by itself after so long; 0: never
	Now         time.Time
	Hold        time.Duration // how long the reservation lives unless it is settled
}

// Reservation is the right to evaluate one password.
type Reservation struct {
	Key       StrikeKey
	ID        [16]byte // random, made by the store
	Max       int      // of the limit that it was made under
	ExpiresAt time.Time
}

// Outcome is how an attempt ended.
type Outcome int

// The outcomes of an attempt.
const (
	Abandoned Outcome = iota // nothing was evaluated, or nothing about the password was learned
	Failed                   // the password was wrong
	Succeeded                // the password was right
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
	// TokenSerial counts the access tokens issued; only the last one is valid,
	// and only while TokenIssuedAt is set and less than an hour ago.
	TokenSerial   int64
	TokenIssuedAt time.Time
}

// Event is one line of the audit trail. It never holds a password, a token or a
// body.
type Event struct {
	Seq       int64
	At        time.Time
	Kind      EventKind
	User      string // empty for a name that nobody has: it may be a mistyped password
	SessionID string
	Client    string // API key
	Address   string
	RequestID string
	Detail    string
}

// EventKind says what happened.
type EventKind string
