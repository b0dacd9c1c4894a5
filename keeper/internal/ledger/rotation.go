package ledger

import "time"

// Phase is how far a rotation has come.
type Phase string

// The phases. A rotation that has ended is removed from the record.
const (
	// Intent: the reset is about to be sent. Under a new lease this becomes InDoubt.
	Intent Phase = "intent"
	// Received: the response to the reset is kept, and has not been read yet.
	Received Phase = "response received"
	// Unsaved: the new password is known. Neither is it in the credential store, nor
	// has a login proven it.
	Unsaved Phase = "unsaved"
	// Stored: the new password is in the credential store. No login has proven it.
	Stored Phase = "stored"
	// Proven: a login has proven the new password. It is not in the credential store.
	Proven Phase = "proven"
	// Refused: the upstream refuses the new password.
	Refused Phase = "refused"
	// InDoubt: the reset may have been executed, and its response is not known. One
	// login with the old password, the probe, determines which password is in effect.
	InDoubt Phase = "in doubt"
	// Probed: the probe was sent, and it is not known what became of it.
	Probed Phase = "probed"
	// Lost: the probe was refused, so that the password is not known.
	Lost Phase = "lost"
)

// Rotation is a change of the password that is not finished.
type Rotation struct {
	Account string    `json:"account"`
	Phase   Phase     `json:"phase"`
	Begun   time.Time `json:"begun"`
	// Old is the fingerprint of the credential that is replaced. Its password is kept
	// until the new one is proven, because the credential store has lost it by then.
	Old         string `json:"old"`
	OldPassword string `json:"oldPassword"`
	// Response is the raw body of the response to the reset.
	Response string `json:"response,omitempty"`
	// NewPassword is what Response holds, from Unsaved on.
	NewPassword string `json:"newPassword,omitempty"`
	// ProbedAt is when the probe was sent, in Probed and Lost.
	ProbedAt time.Time `json:"probedAt,omitzero"`
	// RefusedOnce reports that one login with the new password was refused.
	RefusedOnce bool `json:"refusedOnce,omitempty"`
}

// Ending is how a rotation ended.
type Ending int

// The endings.
const (
	NotEnded Ending = iota
	// Rotated: the new password is stored and proven.
	Rotated
	// OldHolds: the old password is still in effect.
	OldHolds
	// Replaced: a third password is in effect, from elsewhere.
	Replaced
)

// known reports whether the new password is known. A nil rotation has none.
func (rot *Rotation) known() bool { return rot != nil && rot.NewPassword != "" }

// usesNew reports whether logins use the new password.
func (rot *Rotation) usesNew() bool { return rot.known() && rot.Phase != Refused }

// enter moves the rotation to a phase.
func (r *Record) enter(phase Phase) {
	if r.Rotation.Phase != phase {
		r.Rotation.Phase, r.dirty = phase, true
	}
}

// end removes the rotation.
func (r *Record) end(how Ending) Ending {
	r.Rotation, r.dirty = nil, true
	return how
}

// Observe notes which credential the store holds. A password from elsewhere
// is not overwritten before a login has shown again that the new one is in effect.
func (rules Rules) Observe(r *Record, stored Credential) Ending {
	id := rules.identify(r, stored)
	rot := r.rotationOf(id.account)
	if !rot.known() {
		return NotEnded
	}
	switch has := stored.Password == rot.NewPassword; {
	case has && rot.Phase == Proven:
		return r.end(Rotated)
	case has && rot.Phase == Unsaved:
		r.enter(Stored)
	case !has && rot.Phase == Stored:
		r.enter(Unsaved)
	case rot.Phase == Proven && id.credential != rot.Old && !r.provenNow:
		rot.RefusedOnce = true // the upstream knows the password by now
		r.enter(Unsaved)
	}
	return NotEnded
}

// nextOfRotation returns what a rotation needs before any login, if anything. The
// store is not written if it holds a third password, from elsewhere, unless a login has
// proven the new one.
func (rules Rules) nextOfRotation(r *Record, rot *Rotation, stored Credential, id identity) (Action, bool) {
	switch rot.Phase {
	case Received:
		return Action{Do: ReadResponse, Response: rot.Response}, true
	case Unsaved, Proven:
		mayStore := rules.CanStore && !r.storeFailed
		if mayStore && (rot.Phase == Proven || id.credential == rot.Old) {
			return Action{Do: StorePassword, Credential: Credential{stored.User, rot.NewPassword}}, true
		}
	}
	return Action{}, false
}

// nextOfReset returns what is to be done to change the password: the credential must
// be known to be accepted, and the store to be writable, before the reset is sent. It
// returns false if a login has to come first.
func (rules Rules) nextOfReset(r *Record, stored Credential, id identity) (Action, bool) {
	s, age, a := r.Session, r.passwordOf(id.account), r.guard(id.account)
	proven := age != nil && age.Credential == id.credential && a.Strikes == 0
	if !proven || s == nil || s.Account != id.account || s.Upstream != r.fingerprint(rules.Upstream) {
		return Action{}, false
	}
	if !r.writable {
		return Action{Do: CheckStore, Credential: stored}, true
	}
	return Action{Do: ResetPassword, Credential: stored, Token: s.Token, id: id}, true
}

// KeepResponse notes the raw response to the reset. It must be saved before anything
// reads it.
func (r *Record) KeepResponse(response string) Rotation {
	r.Rotation.Response = response
	r.enter(Received)
	return *r.Rotation
}

func (r *Record) settleReset(action Action, out Outcome, now time.Time) {
	if r.Rotation.Phase == Received {
		return
	}
	switch out.Verdict {
	case Rejected: // which the upstream counts as a failed login
		r.settleGuard(action.id, out, now)
		r.end(OldHolds)
	case Unsent:
		r.end(OldHolds)
	default:
		r.enter(InDoubt)
	}
}

// settleResponse notes the password in the response, or that it has none.
func (r *Record) settleResponse(out Outcome) {
	if out.Verdict == Accepted {
		r.Rotation.NewPassword = out.Password
		r.enter(Unsaved)
		return
	}
	r.enter(InDoubt)
}

// settleStore notes whether the store has taken the new password.
func (r *Record) settleStore(out Outcome) Ending {
	switch {
	case out.Verdict != Accepted:
		r.storeFailed = true
	case r.Rotation.Phase == Proven:
		return r.end(Rotated)
	default:
		r.enter(Stored)
	}
	return NotEnded
}

// settleRotation notes what a login means for the rotation of its account.
func (r *Record) settleRotation(rot *Rotation, action Action, out Outcome, now time.Time) Ending {
	isOld := action.id.credential == rot.Old
	switch {
	case action.Probe && out.Verdict == Unsent:
		rot.ProbedAt = time.Time{}
		r.enter(InDoubt)
	case action.Probe && out.Verdict == Rejected:
		r.enter(Lost)
	case out.Verdict == Rejected && action.isNew:
		if _, final := r.guard(action.id.account).refused(action.id); final {
			r.enter(Refused)
		}
	case out.Verdict != Accepted:
	case isOld:
		return r.end(OldHolds)
	case !rot.known():
		return r.end(Replaced)
	default:
		if rot.Phase != Proven {
			// A keeper whose store lags behind must not spend a strike on the old one.
			a := r.account(action.id.account)
			reason := "this password was replaced by a rotation"
			a.Refused = append(makeRoom(a.Refused), RefusedCredential{Credential: rot.Old, At: now, Reason: reason})
		}
		r.enter(Proven)
		r.provenNow = true
		if action.isStored {
			return r.end(Rotated)
		}
	}
	return NotEnded
}

// Recall notes again a rotation whose response the state did not take, or whose
// outcome another keeper could not know and has ended. It does not if the store holds
// another password than the old one by now, which makes the kept rotation obsolete.
func (rules Rules) Recall(r *Record, kept Rotation, stored func() (Credential, error)) (recalled, obsolete bool) {
	rot := r.Rotation
	switch {
	case rot == nil:
		c, err := stored()
		if err != nil {
			return false, false
		}
		if rules.identify(r, c) != (identity{kept.Account, kept.Old}) {
			return false, true
		}
		r.Rotation = &kept
	case rot.Begun.Equal(kept.Begun) && rot.Response == "":
		rot.Response, rot.ProbedAt = kept.Response, time.Time{}
		r.enter(Received)
	default:
		return false, false
	}
	r.dirty = true
	return true, false
}
