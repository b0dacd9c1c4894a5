package keeper

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/credential"
)

// rotation is a change of the password that is under way, or that stopped on its
// way. It is recorded before the reset is sent; one that is found under a new
// lease belongs to a program that has ended.
type rotation struct {
	Account string    `json:"account"`
	Begun   time.Time `json:"begun"`
	Old     string    `json:"old"` // the fingerprint of the credential that is replaced
	// OldPassword is kept until the new one is proven, since the credential store
	// has lost it by then.
	OldPassword string `json:"oldPassword"`
	// Answer is the raw answer of the reset, as soon as it is there.
	Answer string `json:"answer,omitempty"`
	// ProbedAt is when a login with the old password was made to find out whether
	// it holds, for no answer came. There is one such login.
	ProbedAt time.Time `json:"probedAt,omitzero"`
	// ProvenAt is when a login with the new password succeeded.
	ProvenAt time.Time `json:"provenAt,omitzero"`
	// Refused reports that a login with the new password was refused once.
	Refused bool `json:"refused,omitempty"`
}

// password answers the new password, if it is known.
func (r *rotation) password() (latchkey.Secret, bool) {
	if r == nil || r.Answer == "" {
		return "", false
	}
	password, err := latchkey.NewPassword(latchkey.Secret(r.Answer))
	return password, err == nil
}

// rotationOf answers the rotation of an account that was not finished; nil if
// there is none.
func (r *record) rotationOf(account string) *rotation {
	if r.Rotation == nil || r.Rotation.Account != account {
		return nil
	}
	return r.Rotation
}

// RotationState is how far a rotation came that was not finished. In all of them
// nothing is lost that was ever received, and the session that is there goes on
// being used.
type RotationState string

// The states.
const (
	// RotationNone: none is under way. The password in the store is the one.
	RotationNone RotationState = ""
	// RotationUnsaved: the new password is in force and in the State, and could
	// not be put into the credential store yet. Logins use it from the State.
	RotationUnsaved RotationState = "unsaved"
	// RotationUnproven: the new password is stored, and no login has proven it yet. It
	// may have been refused once, because not all parts of the upstream know it yet;
	// one more login is made, ten seconds later at the earliest.
	RotationUnproven RotationState = "unproven"
	// RotationInDoubt: the reset may have been sent, and no answer came. One login
	// with the old password tells whether it still holds; if that has no clear
	// outcome, no other is made until an operator resets the guard.
	RotationInDoubt RotationState = "in doubt"
	// RotationLost: the reset was carried out, its answer never came or cannot be
	// read, and the old password is refused. A person has to help.
	RotationLost RotationState = "lost"
	// RotationRefused: the upstream refuses the password that it made. Both
	// passwords are in the State. A person has to look.
	RotationRefused RotationState = "refused"
)

// rotationState answers how the rotation stands that was not finished, given the
// credential that the store holds.
func (r *record) rotationState(baseURL string, stored credential.Credential) RotationState {
	held := r.identify(baseURL, stored)
	pending := r.rotationOf(held.account)
	if pending == nil {
		return RotationNone
	}
	password, known := pending.password()
	next := r.identify(baseURL, credential.Credential{User: stored.User, Password: password})
	switch {
	case known && r.refused(next) != nil:
		return RotationRefused
	case known && next != held:
		return RotationUnsaved
	case known:
		return RotationUnproven
	case !pending.ProbedAt.IsZero() && r.refused(identity{pending.Account, pending.Old}) != nil:
		return RotationLost
	}
	return RotationInDoubt
}

// doubted answers the latch of a rotation whose answer never came, if id is the
// old credential and was tried since.
func (r *record) doubted(id identity) *LatchedError {
	pending := r.rotationOf(id.account)
	if pending == nil || pending.ProbedAt.IsZero() || id.credential != pending.Old {
		return nil
	}
	reason := "the password was reset at " + pending.Begun.UTC().Format(time.RFC3339) + " and the answer never came; "
	if r.refused(id) != nil {
		reason += "since the old password is refused, the new one is lost: ask the vendor's support to set another, " +
			"and put it where the credential is kept"
	} else {
		reason += "the one login with the old password that was to tell whether it still holds had no clear outcome either"
	}
	return &LatchedError{Since: pending.ProbedAt, Strikes: r.account(id.account).Strikes, Reason: reason}
}

// mayBeUnknown reports whether the refusal of id is the first of a password that the
// upstream has just made, which not all of its parts may know yet.
func (r *record) mayBeUnknown(id identity, cause error) bool {
	pending := r.rotationOf(id.account)
	if _, known := pending.password(); !known || pending.Refused || id.credential == pending.Old ||
		!pending.ProvenAt.IsZero() || !errors.Is(cause, latchkey.ErrInvalidCredentials) {
		return false
	}
	pending.Refused = true
	return true
}

// concludeRotation settles what a login as id says of a rotation. A known new
// password is done with when it is saved, too.
func (r *record) concludeRotation(id identity, v verdict, now time.Time, saved bool) (ended bool) {
	pending := r.rotationOf(id.account)
	if pending == nil {
		return false
	}
	_, known := pending.password()
	switch {
	case v == unsent && !known && id.credential == pending.Old:
		pending.ProbedAt = time.Time{} // it was not tried
	case v != accepted:
	case known && id.credential != pending.Old:
		if pending.ProvenAt.IsZero() {
			pending.ProvenAt = now
			// Whoever still finds the old one, in a store that lags behind, spends
			// no strike on it.
			a := r.account(id.account)
			a.Refused = append(tail(a.Refused), refused{Credential: pending.Old, At: now, Reason: "this password was replaced by a rotation"})
		}
		if !saved {
			return false
		}
		r.Rotation = nil
		return true
	default: // the old password holds after all, or somebody put a third in force
		r.Rotation = nil
		return true
	}
	return false
}

// RotationError says why a rotation did not come to its end, and what holds now.
type RotationError struct {
	State RotationState // RotationNone: the old password holds, and nothing was changed
	Since time.Time     // when it was begun
	Err   error         // what went wrong

	inMemory bool // the new password is not in the State
}

// Unwrap answers Err.
func (e *RotationError) Unwrap() error { return e.Err }

func (e *RotationError) Error() string {
	begun := e.Since.UTC().Format(time.RFC3339)
	cause := strings.TrimPrefix(e.Err.Error(), "keeper: ")
	switch e.State {
	case RotationNone:
		return fmt.Sprintf("keeper: the password was not rotated: %s. The old one holds, and nothing was changed", cause)
	case RotationUnsaved:
		if e.inMemory {
			return fmt.Sprintf("keeper: the password was changed at %s, and the new one could not be put into its store: %s. "+
				"It is in the memory of this program alone, so do not end the program: "+
				"as soon as the state or the store can be written, it is saved by itself", begun, cause)
		}
		return fmt.Sprintf("keeper: the password was changed at %s, and the new one could not be put into its store: %s. "+
			"It is kept in the state, encrypted, and used from there; make the store writable, and it is saved by itself", begun, cause)
	case RotationUnproven:
		return fmt.Sprintf("keeper: the password was changed at %s and the new one is stored, but no login has proven it yet: %s. "+
			"The next login does", begun, cause)
	case RotationInDoubt:
		return fmt.Sprintf("keeper: a reset of the password was begun at %s and its answer never came: %s. "+
			"Which password holds, one login with the old one tells as soon as the upstream answers (latchkey rotate --resume)", begun, cause)
	case RotationRefused:
		return fmt.Sprintf("keeper: the password was changed at %s, and the upstream refuses the new one: %s. "+
			"Both are kept in the state; find out whether the account is locked, then reset the guard (latchkey guard reset), and it is tried again", begun, cause)
	}
	return fmt.Sprintf("keeper: the password was reset at %s, the answer never came, and the old password is refused, "+
		"so the new one is lost: %s. Ask the vendor's support to set another, and put it where the credential is kept; "+
		"until then the session that is there goes on being used, but cannot be renewed", begun, cause)
}
