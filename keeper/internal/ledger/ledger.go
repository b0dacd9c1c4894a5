package ledger

import (
	"fmt"
	"slices"
	"time"
)

// StrikeLimit is how many failed logins in a row a keeper spends. The vendor documents
// that five lock an account; another upstream may have another number. One is not
// enough, because an outcome that is merely unclear would stop the keeper. The rest is
// for people.
const StrikeLimit = 2

// maxRemembered bounds the accounts, and the refused credentials of each, that a
// record remembers. The oldest make room.
const maxRemembered = 16

const (
	firstPause = time.Second
	maxPause   = time.Minute
)

// Backoff returns the pause after so many failures in a row.
func Backoff(failures int) time.Duration {
	return min(firstPause<<min(failures-1, 10), maxPause)
}

// Decide returns what to do next for the goal. stored is what the credential store
// holds. Decide changes nothing; Observe must have been called for stored.
func (rules Rules) Decide(r *Record, goal Goal, stored Credential, held Held, now time.Time) Action {
	if goal == Renew {
		if token, used, ok := rules.Find(r, stored.User, held, now); ok {
			return Action{Do: UseSession, Token: token, Used: used}
		}
	}
	if r.abandoned() {
		return Action{Do: Recover}
	}
	id := rules.identify(r, stored)
	rot := r.rotationOf(id.account)
	switch {
	case goal != Renew && rot == nil && r.Rotation != nil:
		return Action{Do: OtherAccount}
	case goal == Finish && rot == nil:
		return Action{Do: Done}
	case goal == Rotate && rot == nil:
		if action, ok := rules.nextOfReset(r, stored, id); ok {
			return action
		}
	case rot != nil:
		if action, ok := rules.nextOfRotation(r, rot, stored, id); ok {
			return action
		}
		if goal == Finish && rot.Phase == Proven {
			return Action{Do: Done} // the store does not take it now
		}
	}
	return rules.nextLogIn(r, rot, stored, held, now)
}

// nextLogIn returns the next login, or why none may be made now.
func (rules Rules) nextLogIn(r *Record, rot *Rotation, stored Credential, held Held, now time.Time) Action {
	login := Action{Do: LogIn, Credential: stored, Proves: rot.known()}
	if rot.usesNew() {
		login.Credential.Password = rot.NewPassword
	}
	login.id, login.isStored = rules.identify(r, login.Credential), login.Credential == stored
	login.isNew = rot.known() && login.Credential.Password == rot.NewPassword
	login.contested = login.isNew && !login.isStored && rules.identify(r, stored).credential != rot.Old
	if latch := r.latch(login.id); latch.Kind != Unlatched {
		return Action{Do: Stop, Latch: latch}
	}
	if s := r.Session; s != nil && !s.Forgiven && held.Refused && held.Token == s.Token {
		age := max(Since(s.Created, now), held.Age) // the clock may have been put back
		if age < rules.ShortLife {
			if left := Backoff(s.ShortLived+1) - age; left > 0 {
				return Action{Do: Wait, Left: left, Reason: s.refusedSoon(age), OfSession: true}
			}
			login.shortLived = s.ShortLived + 1
		}
	}
	a := r.guard(login.id.account)
	if left := rules.StrikePause - Since(a.Since, now); a.Strikes > 0 && left > 0 {
		return Action{Do: Wait, Left: left, Reason: a.Reason}
	}
	login.Probe = rot != nil && rot.Phase == InDoubt && login.id.credential == rot.Old
	switch {
	case r.upstreamWorks:
	case a.Strikes > 0:
		return Action{Do: AskUpstream, Reason: a.Reason}
	case login.Probe:
		return Action{Do: AskUpstream, Reason: "it is not known whether the password was changed"}
	}
	return login
}

// Begin notes what is about to be done, so that it counts even if the program ends
// right now. A login and a reset may be sent only after the record was saved.
func (r *Record) Begin(action Action, now time.Time) {
	switch {
	case action.Do == LogIn:
		if action.Probe {
			r.Rotation.ProbedAt = now
			r.enter(Probed)
		}
		r.Attempt = &Attempt{Account: action.id.account, At: now}
	case action.Do == ResetPassword:
		r.Rotation = &Rotation{
			Account: action.id.account, Phase: Intent, Begun: now,
			Old: action.id.credential, OldPassword: action.Credential.Password,
		}
	case action.Do == Wait && action.OfSession && !r.Session.Refused:
		r.Session.Refused = true // for others, who cannot know
	default:
		return
	}
	r.dirty = true
}

// Settle notes what became of an action. It returns how the rotation ended, if it did.
func (rules Rules) Settle(r *Record, action Action, out Outcome, now time.Time) Ending {
	switch action.Do {
	case LogIn:
		r.Attempt, r.dirty = nil, true
		out.MayBeLate = out.MayBeLate && !action.contested
		r.settleGuard(action.id, out, now)
		if out.Verdict == Accepted {
			r.notePassword(action.id, now)
			r.Session = &Session{
				Token: out.Token, Upstream: r.fingerprint(rules.Upstream), Account: action.id.account,
				Created: now, ShortLived: action.shortLived,
			}
			r.lastUse, r.unsure = now, false
		}
		if rot := r.rotationOf(action.id.account); rot != nil {
			return r.settleRotation(rot, action, out, now)
		}
	case Recover:
		r.recover()
	case AskUpstream:
		r.upstreamWorks = out.Verdict == Accepted
	case CheckStore:
		r.writable = out.Verdict == Accepted
	case ResetPassword:
		r.settleReset(action, out, now)
	case ReadResponse:
		r.settleResponse(out)
	case StorePassword:
		return r.settleStore(out)
	}
	return NotEnded
}

// settleGuard counts a login, or what the upstream counts as one.
func (r *Record) settleGuard(id identity, out Outcome, now time.Time) {
	a := r.account(id.account)
	r.dirty = true
	switch out.Verdict {
	case Accepted:
		a.Strikes, a.Since, a.Reason = 0, time.Time{}, "" // as the upstream does
	case Rejected:
		reason := "the upstream refused the credential: " + out.Reason
		a.strike(now, reason)
		rot := r.rotationOf(id.account)
		late := out.MayBeLate && rot.known() && !rot.RefusedOnce && rot.Phase != Proven && id.credential != rot.Old
		if late && a.Strikes < StrikeLimit {
			rot.RefusedOnce = true
			return
		}
		a.Refused = append(makeRoom(a.Refused), RefusedCredential{Credential: id.credential, At: now, Reason: reason})
	case Unclear:
		a.strike(now, "the last login may have counted as a failure: "+out.Reason)
	}
}

// abandoned reports whether the last holder of the lease has left something unsettled.
func (r *Record) abandoned() bool {
	return r.Attempt != nil || r.Rotation != nil && r.Rotation.Phase == Intent
}

// recover settles what the last holder of the lease left unsettled. The outcome of its
// login is not known, so it counts as a strike.
func (r *Record) recover() {
	if r.Attempt != nil {
		r.account(r.Attempt.Account).strike(r.Attempt.At, "a login was begun and its outcome never recorded: "+
			"the program that made it has ended, or could not save")
		r.Attempt, r.dirty = nil, true
	}
	if r.Rotation != nil && r.Rotation.Phase == Intent {
		r.enter(InDoubt)
	}
}

// ResetGuard lets logins be made again. A probe may be repeated.
func (r *Record) ResetGuard() {
	r.Accounts, r.Attempt = nil, nil
	r.Resets++
	if s := r.Session; s != nil {
		s.ShortLived, s.Refused, s.Forgiven = 0, false, true
	}
	if rot := r.Rotation; rot != nil {
		switch rot.Phase {
		case Probed, Lost:
			rot.ProbedAt = time.Time{}
			r.enter(InDoubt)
		case Refused:
			r.enter(Unsaved)
		}
	}
	r.dirty = true
}

// EndSession removes the session with the upstream and returns its token, if there is
// one.
func (rules Rules) EndSession(r *Record) (token string) {
	if s := r.Session; s != nil && s.Upstream == r.fingerprint(rules.Upstream) {
		token = s.Token
		r.Session, r.dirty = nil, true
	}
	return token
}

// notePassword notes that the upstream accepted a credential.
func (r *Record) notePassword(id identity, now time.Time) {
	if age := r.passwordOf(id.account); age != nil && age.Credential == id.credential {
		return
	}
	r.Password = &Password{Account: id.account, Credential: id.credential, Since: now}
	if rot := r.rotationOf(id.account); rot != nil && id.credential != rot.Old {
		r.Password.Since, r.Password.Made = NotAfter(rot.Begun, now), true
	}
}

// PasswordOf returns the age of the password of the account, or nil if none was
// accepted yet.
func (rules Rules) PasswordOf(r *Record, stored Credential) *Password {
	return r.passwordOf(r.fingerprint(rules.Upstream, stored.User))
}

// passwordOf returns the age of the account's password, or nil if none was accepted
// yet.
func (r *Record) passwordOf(account string) *Password {
	if r.Password == nil || r.Password.Account != account {
		return nil
	}
	return r.Password
}

// rotationOf returns the unfinished rotation of an account, or nil.
func (r *Record) rotationOf(account string) *Rotation {
	if r.Rotation == nil || r.Rotation.Account != account {
		return nil
	}
	return r.Rotation
}

// guard returns the guard of an account, to read.
func (r *Record) guard(key string) Account {
	if i := r.indexOf(key); i >= 0 {
		return r.Accounts[i]
	}
	return Account{Key: key}
}

func (r *Record) indexOf(key string) int {
	return slices.IndexFunc(r.Accounts, func(a Account) bool { return a.Key == key })
}

// account returns the guard of an account, to change. It is created if necessary.
func (r *Record) account(key string) *Account {
	i := r.indexOf(key)
	if i < 0 {
		r.Accounts = append(makeRoom(r.Accounts), Account{Key: key})
		i = len(r.Accounts) - 1
	}
	return &r.Accounts[i]
}

// makeRoom returns list without its oldest elements, so that one can be added.
func makeRoom[T any](list []T) []T { return list[max(0, len(list)-maxRemembered+1):] }

func (a *Account) strike(at time.Time, reason string) {
	a.Strikes++
	a.Since, a.Reason = at, reason
}

// refused returns the refusal of a credential, if it was refused.
func (a Account) refused(id identity) (RefusedCredential, bool) {
	i := slices.IndexFunc(a.Refused, func(c RefusedCredential) bool { return c.Credential == id.credential })
	if i < 0 {
		return RefusedCredential{}, false
	}
	return a.Refused[i], true
}

// latch returns why no login may be made with a credential until a person acts.
func (r *Record) latch(id identity) Latch {
	a := r.guard(id.account)
	if rot := r.rotationOf(id.account); rot != nil && id.credential == rot.Old &&
		(rot.Phase == Probed || rot.Phase == Lost) {
		latch := Latch{Kind: UnclearProbe, Since: rot.ProbedAt, Strikes: a.Strikes}
		latch.Reason = "the password was reset at " + rot.Begun.UTC().Format(time.RFC3339) + " and the response was lost; "
		if rot.Phase == Lost {
			latch.Kind = LostPassword
			latch.Reason += "the old password is refused, so the new one is lost"
		} else {
			latch.Reason += "the login with the old password, which was to determine whether it is still in effect, had no " +
				"clear outcome"
		}
		return latch
	}
	if c, ok := a.refused(id); ok {
		return Latch{Kind: WrongPassword, Since: c.At, Reason: c.Reason, Strikes: a.Strikes}
	}
	if a.Strikes >= StrikeLimit {
		return Latch{Kind: TwoStrikes, Since: a.Since, Reason: a.Reason, Strikes: a.Strikes}
	}
	return Latch{}
}

// LatchAfter returns the latch that the failure of action has led to, if it has.
func (r *Record) LatchAfter(action Action) Latch { return r.latch(action.id) }

// refusedSoon returns why the next login waits after the refusal of s at such an age.
func (s *Session) refusedSoon(age time.Duration) string {
	return fmt.Sprintf("the upstream refused a session that was at most %v old; "+
		"another program may be logging in as the same user", age.Round(time.Millisecond))
}
