package keeper

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/credential"
)

// recordVersion is the version of the record's form. A keeper that finds another
// one stops: an older or newer program shares the state.
const recordVersion = 1

// record is what keepers share through a State.
type record struct {
	Version int `json:"version"`
	// Salt goes into the fingerprints, so that they say nothing to anybody who
	// has a list of them from elsewhere.
	Salt    []byte         `json:"salt"`
	Session *sharedSession `json:"session,omitempty"`
	// Attempt is the login under way. One that is found under a new lease was
	// never settled.
	Attempt  *attempt  `json:"attempt,omitempty"`
	Accounts []account `json:"accounts,omitempty"`
	// Rotation is the change of a password that was not finished.
	Rotation *rotation `json:"rotation,omitempty"`
	// Password is the one that was accepted last.
	Password *passwordAge `json:"password,omitempty"`
	// Resets counts the resets of the guard, each of which ends every wait.
	Resets int `json:"resets,omitempty"`

	corrected bool // what is saved has times that lie in the future
	unsure    bool // when the session was used last, since a clock was put back
}

// passwordAge tells how old a password is.
type passwordAge struct {
	Account    string `json:"account"`
	Credential string `json:"credential"`
	// Since is when it was made, or else when it was seen first.
	Since time.Time `json:"since"`
	Made  bool      `json:"made,omitempty"` // by a rotation, at Since
}

// age answers that of the account's password; nil if none was accepted yet.
func (r *record) age(account string) *passwordAge {
	if r.Password == nil || r.Password.Account != account {
		return nil
	}
	return r.Password
}

// same reports whether two ages are of the same password.
func (p *passwordAge) same(other *passwordAge) bool {
	return other != nil && p.Account == other.Account && p.Credential == other.Credential
}

// accepted notes that the upstream accepted a credential.
func (r *record) accepted(id identity, now time.Time) {
	if age := r.age(id.account); age == nil || age.Credential != id.credential {
		r.Password = &passwordAge{Account: id.account, Credential: id.credential, Since: now}
		if pending := r.rotationOf(id.account); pending != nil && id.credential != pending.Old {
			r.Password.Since, r.Password.Made = past(pending.Begun, now), true
		}
	}
}

// sharedSession is a session as it is kept. It holds its token in the clear,
// which is why a record is encoded into a Secret.
type sharedSession struct {
	Token    string    `json:"token"`
	Upstream string    `json:"upstream"`
	Account  string    `json:"account"`
	Created  time.Time `json:"created"`
	// Brief counts the sessions in a row, before this one, that the upstream
	// refused when they were hardly opened.
	Brief int `json:"brief,omitempty"`
	// Refused reports that it was refused as well, and the next login has to wait;
	// Forgiven, that an operator has reset the guard since it was opened.
	Refused  bool `json:"refused,omitempty"`
	Forgiven bool `json:"forgiven,omitempty"`
}

func (s *sharedSession) secret() latchkey.Secret { return latchkey.Secret(s.Token) }

// decodeRecord reads what a State has kept; nothing is a fresh record.
func decodeRecord(data latchkey.Secret) (*record, error) {
	if data == "" {
		salt := make([]byte, 16)
		_, _ = rand.Read(salt) // never fails, says its documentation
		return &record{Version: recordVersion, Salt: salt}, nil
	}
	var r record
	if err := json.Unmarshal([]byte(data), &r); err != nil {
		// The cause is not shown, since it may quote a token.
		return nil, fmt.Errorf("keeper: what the state holds is not a keeper's record; " +
			"no login is made, because the count of failed ones is lost with it: " +
			"restore the state, or remove it once the account is known not to be near its lock")
	}
	if r.Version != recordVersion {
		return nil, fmt.Errorf("keeper: the state was written in version %d, and this program knows version %d: "+
			"use the same version of latchkey wherever this state is shared", r.Version, recordVersion)
	}
	return &r, nil
}

func (r *record) encode() latchkey.Secret {
	data, _ := json.Marshal(r) // plain fields only: it cannot fail
	return latchkey.Secret(data)
}

// identity tells accounts and credentials apart without naming them.
type identity struct {
	account    string // of URL and user
	credential string // of URL, user and password
}

func (r *record) identify(baseURL string, c credential.Credential) identity {
	return identity{
		account:    r.fingerprint(baseURL, c.User),
		credential: r.fingerprint(baseURL, c.User, c.Password.Reveal()),
	}
}

// fingerprint is a keyed hash of the parts. Each is preceded by its length, so
// that no two lists of parts look alike.
func (r *record) fingerprint(parts ...string) string {
	mac := hmac.New(sha256.New, r.Salt)
	for _, part := range parts {
		var length [8]byte
		binary.BigEndian.PutUint64(length[:], uint64(len(part)))
		mac.Write(length[:])
		mac.Write([]byte(part))
	}
	return hex.EncodeToString(mac.Sum(nil))
}
