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
	// Store holds the credential. The new password is saved there.
	Store credential.Store
	// Upstream resets the password.
	Upstream PasswordResetter
	// Every is the age at which the password is rotated, up to a tenth of that time early,
	// by one of the Keepers that share the State. It is at least an hour. Default: 0, never
	// automatically.
	Every time.Duration
}

// PasswordResetter resets passwords. *latchkey.Client is one.
type PasswordResetter interface {
	// ResetPassword sends one reset, whatever happens, and returns the new password. It calls
	// options.OnResponse with the raw body of a successful response before it parses the body.
	ResetPassword(
		ctx context.Context, session, oldPassword latchkey.Secret, options latchkey.ResetOptions,
	) (latchkey.Secret, error)
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

// RotationState is how far an unfinished rotation has come. In every state, all that was
// received is kept, and a live session remains in use.
type RotationState string

// The states.
const (
	// RotationNone: there is no rotation. The password in the store is in effect.
	RotationNone RotationState = ""
	// RotationUnsaved: the new password is in effect and in the State, and is not in the
	// credential store yet. Logins use it from the State.
	RotationUnsaved RotationState = "unsaved"
	// RotationUnproven: the new password is stored, and no login has proven it yet. It may
	// have been refused once, because not all parts of the upstream know it yet. Then
	// another login is made after ten seconds at the earliest.
	RotationUnproven RotationState = "unproven"
	// RotationInDoubt: the reset may have been sent, and there was no response. One login
	// with the old password determines whether it is still in effect. If that has no clear
	// outcome, no further login is made until an operator resets the guard.
	RotationInDoubt RotationState = "in doubt"
	// RotationLost: the reset was executed, its response was lost or cannot be parsed, and
	// the old password is refused. The vendor's support has to set another one.
	RotationLost RotationState = "lost"
	// RotationRefused: the upstream refuses the password that it generated. Both passwords
	// are in the State. An operator has to find out why.
	RotationRefused RotationState = "refused"
)

// stateOf returns the state that a phase is to users.
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
