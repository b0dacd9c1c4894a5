package ledger

import "time"

// View is what a record says about one credential.
type View struct {
	Session *Session  // with the upstream, of any user; nil if there is none
	LastUse time.Time // of the session

	Latch   Latch
	Strikes int
	// Left is how long the next login has to wait because of Reason, as far as the
	// account is concerned; not positive if it need not.
	Left   time.Duration
	Reason string

	Password *Password // nil if none was accepted yet
	Phase    Phase     // of a rotation that is not finished; empty if there is none
	Begun    time.Time // when the rotation was begun
	// Stuck is set if only a person can make the rotation go on.
	Stuck bool
}

// View returns what r says about the credential that the store holds.
func (rules Rules) View(r *Record, stored Credential, now time.Time) View {
	var view View
	if s := r.Session; s != nil && s.Upstream == r.fingerprint(rules.Upstream) {
		view.Session, view.LastUse = s, s.Created
		if r.lastUse.After(s.Created) {
			view.LastUse = r.lastUse
		}
	}
	if stored.User == "" {
		return view
	}
	rules.Observe(r, stored)
	id := rules.identify(r, stored)
	if rot := r.rotationOf(id.account); rot != nil {
		view.Phase, view.Begun = rot.Phase, NotAfter(rot.Begun, now)
		switch rot.Phase {
		case Lost, Refused, Intent, InDoubt, Probed:
			view.Stuck = r.latch(id).Kind != Unlatched
		}
		if rot.known() { // which is what logins use
			id = rules.identify(r, Credential{stored.User, rot.NewPassword})
		}
	}
	a := r.guard(id.account)
	view.Latch, view.Strikes, view.Password = r.latch(id), a.Strikes, r.passwordOf(id.account)
	if a.Strikes > 0 {
		view.Left, view.Reason = rules.StrikePause-Since(a.Since, now), a.Reason
	}
	if s := r.Session; s != nil && s.Refused && s.Account == id.account {
		age := Since(s.Created, now)
		if left := Backoff(s.ShortLived+1) - age; left > view.Left {
			view.Left, view.Reason = left, s.refusedSoon(age)
		}
	}
	return view
}
