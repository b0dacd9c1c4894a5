package authority

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/latchkey/latchkey/internal/secret"
)

// SessionKey identifies a session in a store: the SHA-256 of its token. A stolen database
// opens no session.
type SessionKey [sha256.Size]byte

// ID returns the public ID of the session, for logs, listings and the audit trail: the first
// eight bytes of the key in hex. It opens nothing.
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

// Expired reports whether the session is over at now: it was not used for idle or longer,
// or has reached its ExpiresAt.
func (s *Session) Expired(now time.Time, idle time.Duration) bool {
	return Expired(s.LastUsedAt, s.ExpiresAt, now, idle)
}

// Expired is Session.Expired for a session of which only these times are known. It is the
// one place that decides. The query of a sweep repeats it, and storetest compares the two.
func Expired(lastUsed, expiresAt, now time.Time, idle time.Duration) bool {
	return now.Sub(lastUsed) >= idle || !expiresAt.IsZero() && !now.Before(expiresAt)
}

// End is when, why and by whom a session was ended.
type End struct {
	At     time.Time
	Reason Reason
	By     string // the user, or the operator
}

// Reason is why a session ended.
type Reason string

// The reasons.
const (
	ReasonLogout    Reason = "logout"
	ReasonExpired   Reason = "expired"
	ReasonReset     Reason = "password-reset"
	ReasonAdmin     Reason = "operator"
	ReasonLogIn     Reason = "later-login" // under Policy.EndSessionsOnLogin
	ReasonDiscarded Reason = "discarded"   // created for a login that then failed; its token was not returned
)

// SessionToken is a session token: 128 random bits in the form of a GUID, none of which
// marks a version or a variant (OWASP ASVS 5.0, 7.2.3). It is formatted as redacted; Reveal
// returns the text that callers send.
type SessionToken [16]byte

// ParseSessionToken reads the 36-character form of a GUID, in either case of
// letters. It returns false for anything else. Whether a session has that token
// is for Check to say.
func ParseSessionToken(text string) (SessionToken, bool) {
	var token SessionToken
	if len(text) != 36 || text[8] != '-' || text[13] != '-' || text[18] != '-' || text[23] != '-' {
		return token, false
	}
	at := 0
	for i := range token {
		if at == 8 || at == 13 || at == 18 || at == 23 {
			at++
		}
		high, low := hexDigit[text[at]], hexDigit[text[at+1]]
		if high|low > 0x0f {
			return SessionToken{}, false
		}
		token[i] = high<<4 | low
		at += 2
	}
	return token, true
}

// hexDigit maps a byte to its value as a hex digit, or to 0xff.
var hexDigit = func() (table [256]byte) {
	for i := range table {
		table[i] = 0xff
	}
	for i, c := range []byte("0123456789abcdef") {
		table[c] = byte(i)
	}
	for i, c := range []byte("ABCDEF") {
		table[c] = byte(10 + i)
	}
	return table
}()

// Key returns the key of the token in stores.
func (t SessionToken) Key() SessionKey { return sha256.Sum256(t[:]) }

// Reveal returns the text form, as callers send it.
func (t SessionToken) Reveal() string {
	var b [36]byte
	hex.Encode(b[:8], t[:4])
	hex.Encode(b[9:13], t[4:6])
	hex.Encode(b[14:18], t[6:8])
	hex.Encode(b[19:23], t[8:10])
	hex.Encode(b[24:], t[10:])
	b[8], b[13], b[18], b[23] = '-', '-', '-', '-'
	return string(b[:])
}

// Format implements fmt.Formatter, as redacted.
func (t SessionToken) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(secret.Redacted)) }

// MarshalText implements encoding.TextMarshaler, as redacted.
func (t SessionToken) MarshalText() ([]byte, error) { return []byte(secret.Redacted), nil }

// newSessionToken returns a random token.
func newSessionToken() SessionToken {
	var token SessionToken
	randomBytes(token[:])
	return token
}

// Check returns the live session of a token and slides its idle time. It returns
// ErrSessionExpired if there is no such session, and an error that wraps ErrUnavailable if
// the store fails.
func (a *Authority) Check(ctx context.Context, token SessionToken) (Session, error) {
	session, err := a.stores.Sessions.UseSession(ctx, token.Key(), a.now(), a.policy.IdleTimeout)
	if err != nil {
		return Session{}, sessionError(err)
	}
	return session, nil
}

// LogOut ends the session of a token. Of several concurrent calls exactly one succeeds; the
// others return ErrSessionExpired.
func (a *Authority) LogOut(ctx context.Context, token SessionToken, origin Origin) error {
	key := token.Key()
	// An idle session must not seem to be live because it is not swept yet.
	session, err := a.stores.Sessions.UseSession(ctx, key, a.now(), a.policy.IdleTimeout)
	if err != nil {
		return sessionError(err)
	}
	end := End{At: a.now(), Reason: ReasonLogout, By: session.User}
	if _, err := a.stores.Sessions.EndSession(ctx, key, end); err != nil {
		return sessionError(err)
	}
	a.record(ctx, origin, Event{Kind: EventLogOut, User: session.User, SessionID: key.ID()})
	return nil
}

// sessionError converts an error of a session store to one for callers of the Authority.
func sessionError(err error) error {
	if errors.Is(err, ErrNotFound) {
		return ErrSessionExpired
	}
	return unavailable(err)
}
