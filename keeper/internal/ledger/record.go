// Package ledger decides what a keeper does next, and what the outcome means for
// what it keeps. It has the guard and the rotation of the password as one state
// machine. It is pure: no I/O, no clock, no goroutines.
//
// A keeper that holds the lease opens the [Record] and repeats: [Rules.Decide] returns
// an [Action], [Record.Begin] notes it before it is carried out, and [Record.Settle]
// notes its [Outcome]. The record is saved in between.
package ledger

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Version is the version of the record's form.
const Version = 2

// SaltSize is the size of a salt in bytes.
const SaltSize = 16

// clockSlack is how far the clocks of hosts that share a record may differ.
const clockSlack = time.Minute

// ErrUnreadable is the error of Open for data that is not a record.
var ErrUnreadable = errors.New("not the record of a keeper")

// VersionError is the error of Open for a record of another version.
type VersionError struct{ Found int }

func (e *VersionError) Error() string {
	return fmt.Sprintf("the record has version %d, this program knows version %d", e.Found, Version)
}

// Record is what keepers share through a state.
type Record struct {
	Version int `json:"version"`
	// Salt keys the fingerprints, so that they match nothing in a list from elsewhere.
	Salt    []byte   `json:"salt"`
	Session *Session `json:"session,omitempty"`
	// Attempt is a login under way. One that is found under a new lease was never
	// settled.
	Attempt  *Attempt  `json:"attempt,omitempty"`
	Accounts []Account `json:"accounts,omitempty"`
	// Rotation is a change of the password that is not finished.
	Rotation *Rotation `json:"rotation,omitempty"`
	// Password is the one that was accepted last.
	Password *Password `json:"password,omitempty"`
	// Resets counts the resets of the guard. Each of them ends every wait.
	Resets int `json:"resets,omitempty"`

	lastUse time.Time // of the session
	unsure  bool      // lastUse cannot be relied on: a clock was put back
	dirty   bool      // the record differs from what is saved

	// What was found out since the record was opened.
	upstreamWorks bool // it has returned a fresh access token
	writable      bool // the credential store has taken a save
	storeFailed   bool // it did not take the new password
	provenNow     bool // a login has proven the new password
}

// Session is a session with an upstream. It holds the token in the clear, so a
// record must be kept where secrets are kept.
type Session struct {
	Token    string    `json:"token"`
	Upstream string    `json:"upstream"`
	Account  string    `json:"account"`
	Created  time.Time `json:"created"`
	// ShortLived counts the sessions in a row, before this one, that were refused soon
	// after they had been opened.
	ShortLived int `json:"shortLived,omitempty"`
	// Refused reports that this one was refused soon as well, and that the next login
	// has to wait.
	Refused bool `json:"refused,omitempty"`
	// Forgiven reports that an operator has reset the guard since it was opened.
	Forgiven bool `json:"forgiven,omitempty"`
}

// Attempt is a login whose outcome is not recorded yet.
type Attempt struct {
	Account string    `json:"account"`
	At      time.Time `json:"at"`
}

// Password is the age of a password.
type Password struct {
	Account    string `json:"account"`
	Credential string `json:"credential"`
	// Since is when the password was made if Made is set, and when it was first seen
	// otherwise.
	Since time.Time `json:"since"`
	Made  bool      `json:"made,omitempty"` // by a rotation
}

// Same reports whether p and other are ages of the same password.
func (p *Password) Same(other *Password) bool {
	return other != nil && p.Account == other.Account && p.Credential == other.Credential
}

// Credential is a user name and a password.
type Credential struct{ User, Password string }

// New returns an empty record. The salt must be random, of SaltSize bytes.
func New(salt []byte) *Record { return &Record{Version: Version, Salt: salt} }

// Open decodes a record. lastUse is when its session was last used. Times in the future
// come from a clock that has been put right since, and are replaced by now.
func Open(data string, lastUse, now time.Time) (*Record, error) {
	var r Record
	if json.Unmarshal([]byte(data), &r) != nil {
		return nil, ErrUnreadable // without the cause, which may quote a token
	}
	if r.Version != Version {
		return nil, &VersionError{Found: r.Version}
	}
	r.lastUse = NotAfter(lastUse, now)
	r.unsure = lastUse.Sub(now) > clockSlack || r.Session != nil && r.Session.Created.Sub(now) > clockSlack
	r.correct(now)
	return &r, nil
}

// Find returns the token of the recorded session, and when it was last used, if it is
// the user's, is not known to be refused, and was not idle for too long. An empty user
// stands for any.
func (rules Rules) Find(r *Record, user string, held Held, now time.Time) (token string, used time.Time, ok bool) {
	s := r.Session
	if s == nil || s.Upstream != r.fingerprint(rules.Upstream) ||
		user != "" && s.Account != r.fingerprint(rules.Upstream, user) {
		return "", time.Time{}, false
	}
	// Others may have used a session since it was idle for too long here, unless the
	// time of its last use cannot be relied on.
	if held.Token == s.Token && (held.Refused || r.unsure) {
		return "", time.Time{}, false
	}
	used = s.Created
	if r.lastUse.After(used) {
		used = r.lastUse
	}
	return s.Token, used, Since(used, now) < rules.IdleLimit
}

// Encode returns r as it is saved.
func (r *Record) Encode() string {
	data, _ := json.Marshal(r) // plain fields cannot fail
	return string(data)
}

// NeedsSave reports whether r differs from what is saved.
func (r *Record) NeedsSave() bool { return r.dirty }

// Saved notes that r was saved.
func (r *Record) Saved() { r.dirty = false }

// correct replaces times in the future by now. Rotation.Begun stays, because it
// identifies the rotation, and no wait depends on it.
func (r *Record) correct(now time.Time) {
	correct := func(t *time.Time) {
		if t.After(now) {
			*t, r.dirty = now, true
		}
	}
	if r.Session != nil {
		correct(&r.Session.Created)
	}
	if r.Attempt != nil {
		correct(&r.Attempt.At)
	}
	for i := range r.Accounts {
		a := &r.Accounts[i]
		correct(&a.Since)
		for j := range a.Refused {
			correct(&a.Refused[j].At)
		}
	}
	if r.Rotation != nil {
		correct(&r.Rotation.ProbedAt)
	}
	if r.Password != nil {
		correct(&r.Password.Since)
	}
}

// NotAfter returns t, or now if t is in the future.
func NotAfter(t, now time.Time) time.Time {
	if t.After(now) {
		return now
	}
	return t
}

// Since returns how much time has passed between t and now, at least zero. If both have
// a monotonic reading, the clock that has moved more decides: the wall clock runs on
// while the machine sleeps, and the monotonic one cannot be put back.
func Since(t, now time.Time) time.Duration {
	return max(now.Sub(t), now.Round(0).Sub(t.Round(0)), 0)
}

// Supersedes reports whether a last use at the time at replaces the recorded one: if it
// is later, or if the recorded one is in the future and at is not, because a clock was
// put back.
func Supersedes(at, recorded, now time.Time) bool {
	return at.After(recorded) || recorded.Sub(now) > clockSlack && now.Sub(at).Abs() <= clockSlack
}

// identity identifies an account and a credential without naming them.
type identity struct {
	account    string // of the upstream and the user
	credential string // of the upstream, the user and the password
}

func (rules Rules) identify(r *Record, c Credential) identity {
	return identity{
		account:    r.fingerprint(rules.Upstream, c.User),
		credential: r.fingerprint(rules.Upstream, c.User, c.Password),
	}
}

// fingerprint returns a keyed hash of parts. Each part is preceded by its length, so
// that different parts never hash the same bytes.
func (r *Record) fingerprint(parts ...string) string {
	mac := hmac.New(sha256.New, r.Salt)
	for _, part := range parts {
		var length [8]byte
		binary.BigEndian.PutUint64(length[:], uint64(len(part)))
		mac.Write(length[:])
		mac.Write([]byte(part))
	}
	return hex.EncodeToString(mac.Sum(nil))
}
