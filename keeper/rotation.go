package keeper

import (
	"context"
	"time"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/credential"
	"github.com/latchkey/latchkey/keeper/internal/ledger"
)

// Rotation is what a Keeper needs to change the password of the upstream account. All
// fields but Every are required.
type Rotation struct {
	// Store holds the credential, and takes the new one.
	Store credential.Store
	// Upstream resets the password.
	Upstream PasswordResetter
	// Every is how old the password may become. Then it is rotated, up to a tenth of
	// that time early, by one of the Keepers that share the State. Default: 0, never
	// automatically. The least is an hour.
	Every time.Duration
}

// PasswordResetter resets passwords. *latchkey.Client is one.
type PasswordResetter interface {
	// ResetPassword sends one reset, whatever happens. It calls received with the raw
	// body of a successful response before it parses it.
	ResetPassword(ctx context.Context, session, oldPassword latchkey.Secret, received func(response latchkey.Secret)) (latchkey.Secret, error)
}

var _ PasswordResetter = (*latchkey.Client)(nil)

// Step is a step of a rotation.
type Step string

// The steps, in their order. A rotation that was interrupted begins again with
// StepProbe, StepStore or StepProveNew.
const (
	StepSession    Step = "make sure that there is a session"
	StepProveOld   Step = "prove the old password by a login"
	StepCheckStore Step = "prove that the store can be written"
	StepRecord     Step = "record what is about to happen"
	StepReset      Step = "send the reset, once"
	StepResponse   Step = "keep the response"
	StepStore      Step = "store the new password"
	StepProveNew   Step = "prove the new password by a login"
	StepProbe      Step = "determine by one login whether the old password is in effect"
)

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

// stateOf returns what a phase is to users.
func stateOf(phase ledger.Phase) RotationState {
	switch phase {
	case ledger.Received, ledger.Unsaved, ledger.Proven:
		return RotationUnsaved
	case ledger.Stored:
		return RotationUnproven
	case ledger.Intent, ledger.InDoubt, ledger.Probed:
		return RotationInDoubt
	case ledger.Lost:
		return RotationLost
	case ledger.Refused:
		return RotationRefused
	}
	return RotationNone
}
