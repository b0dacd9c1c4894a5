package keeper

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/credential"
)

const (
	// flightLimit bounds a renewal of the session, with waiting for the lease of
	// another process that logs in.
	flightLimit = 2 * time.Minute
	// leaseWait is how long a login waits for the lease before it looks into the state
	// whether there is a session by now.
	leaseWait = 20 * time.Second
	// logInLimit bounds the login itself; latchkey.Client is done after 30 s,
	// unless configured otherwise.
	logInLimit = time.Minute
	// bearerLimit bounds a renewal of the access token.
	bearerLimit = time.Minute
	// saveLimit bounds the saving of what came of it, whatever time is left.
	saveLimit = 10 * time.Second
	// settled is how long a session must have lasted for its refusal to be the
	// normal end of a session. Where sessions are refused sooner, something ends
	// them (a login elsewhere), or it is not the session that is refused; each
	// login then waits longer than the one before.
	settled = 5 * time.Minute
	// strikePause is how long after a strike, in whichever process, the next login
	// waits: trouble that is over by then costs one strike, and no person.
	strikePause = 10 * time.Second
)

// tooSoonError reports that the next login has to wait for so long. It is not a
// failure of the upstream, and nothing was sent.
type tooSoonError struct {
	why  string
	left time.Duration
}

func (e *tooSoonError) Error() string { return "keeper: " + e.why }

// replaceSession renews the session, and gives up the one before.
func (k *Keeper) replaceSession(ctx context.Context, waiting bool) (*session, error) {
	last := k.sessions.current.Load()
	s, err := k.renewSession(ctx, waiting)
	if s != nil && last != nil {
		last.over.Store(true)
	}
	return s, err
}

// renewSession finds a live session in the state or logs in. It runs in one
// flight at a time, and sends a login only under the lease. While the last failure
// makes it wait, it only looks.
func (k *Keeper) renewSession(ctx context.Context, waiting bool) (*session, error) {
	last := k.sessions.current.Load()
	if waiting {
		shared, s, err := k.adopt(ctx, last, k.user)
		if s != nil {
			return s, nil
		}
		if err != nil || shared.Resets == k.resets {
			return nil, errStillWaiting
		}
	}
	c, unreadable := k.credential(ctx)
	k.user = c.User
	shared, s, err := k.adopt(ctx, last, c.User)
	if s != nil {
		return s, nil
	}
	if err == nil {
		k.resets, err = shared.Resets, unreadable
	}
	if err != nil {
		return nil, k.logInFailed(err)
	}
	lease, s, err := k.acquireOrAdopt(ctx, last, c.User)
	if s != nil {
		return s, nil
	}
	if err != nil {
		return nil, k.logInFailed(stateError("acquire", err))
	}
	defer k.release(ctx, lease)
	// Whoever held the lease before may have logged in meanwhile, or have changed
	// the password.
	shared, s, err = k.adopt(ctx, last, c.User)
	if s != nil {
		return s, nil
	}
	if err == nil {
		k.resets = shared.Resets
		c, err = k.credential(ctx)
	}
	if err != nil {
		return nil, k.logInFailed(err)
	}
	if shared.corrected {
		k.save(ctx, lease, shared)
	}
	return k.logIn(ctx, lease, shared, last, c)
}

// acquireOrAdopt returns the lease, or a session that its holder has recorded and is
// not done yet, as one that rotates the password or hangs.
func (k *Keeper) acquireOrAdopt(ctx context.Context, last *session, user string) (Lease, *session, error) {
	for {
		waiting, cancel := context.WithTimeoutCause(ctx, leaseWait, errFlightTime)
		lease, err := k.config.State.Acquire(waiting)
		again := waiting.Err() != nil
		cancel()
		if err == nil || !again {
			return lease, nil, err
		}
		looking, done := context.WithTimeout(context.WithoutCancel(ctx), saveLimit)
		_, s, _ := k.adopt(looking, last, user)
		done()
		if s != nil || ctx.Err() != nil {
			return nil, s, err
		}
	}
}

// credential answers what the source holds.
func (k *Keeper) credential(ctx context.Context) (credential.Credential, error) {
	c, err := k.config.Credential.Load(ctx)
	if err != nil {
		return credential.Credential{}, fmt.Errorf("keeper: the credential cannot be read, so no login is made: %w", err)
	}
	return c, nil
}

// adopt reads the state, and answers the session in it if it is user's, has not
// been refused and is not idle.
func (k *Keeper) adopt(ctx context.Context, last *session, user string) (*record, *session, error) {
	shared, lastUse, err := k.load(ctx)
	if err != nil {
		return nil, nil, err
	}
	found := shared.Session
	if found == nil || found.Upstream != shared.fingerprint(k.baseURL) {
		return shared, nil, nil
	}
	if user != "" && found.Account != shared.identify(k.baseURL, credential.Credential{User: user}).account {
		return shared, nil, nil
	}
	ours := last != nil && last.token.Equal(found.secret())
	// One that was given up may have been used by others since, unless that cannot be
	// known.
	if ours && (last.refused.Load() || shared.unsure) {
		return shared, nil, nil
	}
	used := later(found.Created, lastUse)
	if since(used, k.now()) >= k.idleLimit() {
		return shared, nil, nil
	}
	k.note(Event{Kind: EventAdopted})
	s := k.newSession(found.secret(), used)
	s.adopted = true
	return shared, s, nil
}

// load reads what is shared, and when the session was used last. No time in it
// lies in the future.
func (k *Keeper) load(ctx context.Context) (*record, time.Time, error) {
	saved, err := k.config.State.Load(ctx)
	if err != nil {
		return nil, time.Time{}, stateError("load", err)
	}
	shared, err := decodeRecord(saved.Data)
	if err != nil {
		return nil, time.Time{}, err
	}
	now := k.now()
	shared.unsure = saved.LastUse.Sub(now) > touchSlack || shared.Session != nil && shared.Session.Created.Sub(now) > touchSlack
	shared.corrected = shared.correct(now)
	return shared, past(saved.LastUse, now), nil
}

// logIn logs in under the lease, if the guard lets it. What it does also settles
// a rotation that was not finished: the login tells which password holds.
func (k *Keeper) logIn(
	ctx context.Context, lease Lease, shared *record, last *session, c credential.Credential,
) (*session, error) {
	k.recall(ctx, lease, shared)
	condemned := shared.condemn()
	c, unsaved := k.effective(ctx, shared, c)
	id := shared.identify(k.baseURL, c)
	if latched := shared.latched(id); latched != nil {
		if condemned {
			k.save(ctx, lease, shared)
		}
		return nil, k.latch(latched)
	}
	brief, err := shared.brief(last, k.settled, k.now())
	if err != nil {
		if condemned || !shared.Session.Refused {
			shared.Session.Refused = true
			k.save(ctx, lease, shared)
		}
		return nil, err
	}
	a, pending := shared.account(id.account), shared.rotationOf(id.account)
	_, known := pending.password()
	probe := pending != nil && !known && id.credential == pending.Old
	if a.Strikes > 0 || probe {
		if err := k.afterStrike(ctx, a); err != nil {
			if condemned {
				k.save(ctx, lease, shared)
			}
			return nil, k.logInFailed(err)
		}
	}
	// From here on the attempt counts, even if this process ends right now.
	switch {
	case probe:
		k.step(stepProbe)
		pending.ProbedAt = k.now()
	case known:
		k.step(stepNew)
	}
	shared.Attempt = &attempt{Account: id.account, At: k.now()}
	if err := lease.Save(ctx, shared.encode()); err != nil {
		return nil, k.logInFailed(fmt.Errorf("keeper: the attempt to log in could not be recorded, so it is not made: %w", err))
	}
	token, err := k.sendLogIn(ctx, c)
	now := k.now()
	shared.settle(id, judge(err), err, now)
	ended := shared.concludeRotation(id, judge(err), now, unsaved == nil)
	if err == nil {
		shared.Session = &sharedSession{
			Token: token.Reveal(), Upstream: shared.fingerprint(k.baseURL), Account: id.account,
			Created: now, Brief: brief,
		}
	}
	k.save(ctx, lease, shared)
	if err == nil {
		k.note(Event{Kind: EventLogIn})
		if ended {
			k.rotationEnded(pending, id)
		}
		return k.newSession(token, now), nil
	}
	err = k.logInFailed(fmt.Errorf("keeper: the login failed: %w", err))
	if latched := shared.latched(id); latched != nil {
		latched.cause = err
		return nil, k.latch(latched)
	}
	return nil, err
}

// sendLogIn sends the login. Where the gateway refuses the bearer, which it does
// before any service sees the credential, the login is sent once more with the
// fresh bearer that the upstream's client then gets.
func (k *Keeper) sendLogIn(ctx context.Context, c credential.Credential) (latchkey.Secret, error) {
	ctx, cancel := context.WithTimeout(ctx, logInLimit)
	defer cancel()
	token, err := k.config.Upstream.LogIn(ctx, c.User, c.Password)
	var fault *latchkey.FaultError
	if errors.Is(err, latchkey.ErrUnauthorized) && errors.As(err, &fault) && judge(err) == unsent {
		k.note(Event{Kind: EventBearerRefused})
		token, err = k.config.Upstream.LogIn(ctx, c.User, c.Password)
	}
	return token, err
}

// afterStrike answers an error unless the time has come for a login that may cost
// the account a further strike, or the first. After an unclear outcome the upstream is likely
// to be in trouble, and the second strike is too dear to be spent on finding out
// whether it still is; a fresh access token tells as much.
func (k *Keeper) afterStrike(ctx context.Context, a *account) error {
	why := "it is not known whether the password was changed"
	if a.Strikes > 0 {
		why = a.Reason
		if left := k.strikePause - since(a.Since, k.now()); left > 0 {
			return &tooSoonError{why, left}
		}
	}
	token, err := k.config.Upstream.AccessToken(ctx)
	if err == nil { // it may come from a cache
		k.config.Upstream.InvalidateAccessToken(token.Token)
		_, err = k.config.Upstream.AccessToken(ctx)
	}
	if err != nil {
		return fmt.Errorf("keeper: %s; as long as the upstream does not answer, no login is tried: %w", why, err)
	}
	return nil
}

// save records what came of an attempt. A failure does not undo what happened:
// it is told, and the attempt that is on record counts as a strike from then on.
func (k *Keeper) save(ctx context.Context, lease Lease, shared *record) (ok bool) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveLimit)
	defer cancel()
	err := lease.Save(ctx, shared.encode())
	if err != nil {
		k.note(Event{Kind: EventStateFailed, Err: stateError("save", err)})
	}
	return err == nil
}

// brief returns how many sessions in a row were refused when they were hardly
// opened, the last one included, or an error if it is too soon for another.
func (r *record) brief(last *session, settled time.Duration, now time.Time) (int, error) {
	found := r.Session
	if found == nil || found.Forgiven || last == nil || !last.refused.Load() || !last.token.Equal(found.secret()) {
		return 0, nil
	}
	age := max(since(found.Created, now), time.Since(last.met)) // since a clock may have been put back
	if age >= settled {
		return 0, nil
	}
	if soon := found.tooSoon(age); soon != nil {
		return 0, soon
	}
	return found.Brief + 1, nil
}

// tooSoon returns why no login is made after the refusal of s, which was hardly
// opened, age ago at least; nil if one may be made.
func (s *sharedSession) tooSoon(age time.Duration) *tooSoonError {
	left := backoff(s.Brief+1) - age
	if left <= 0 {
		return nil
	}
	return &tooSoonError{fmt.Sprintf("the upstream refused a session that was %v old at most: "+
		"does somebody else log in as the same user", age.Round(time.Millisecond)), left}
}

func (k *Keeper) logInFailed(err error) error {
	k.note(Event{Kind: EventLogInFailed, Err: err})
	return err
}

// latch tells of a latch once, however often it is met.
func (k *Keeper) latch(latched *LatchedError) error {
	if !latched.Since.Equal(k.latchTold) {
		k.latchTold = latched.Since
		k.note(Event{Kind: EventLatched, Err: latched})
	}
	return latched
}

// renewBearer gets an access token. The upstream caches it, by a clock that may
// have been put back.
func (k *Keeper) renewBearer(ctx context.Context, _ bool) (*bearer, error) {
	last := k.bearers.current.Load()
	token, err := k.config.Upstream.AccessToken(ctx)
	if err == nil && last != nil && last.ended() && token.Token.Equal(last.Token) {
		k.config.Upstream.InvalidateAccessToken(token.Token)
		token, err = k.config.Upstream.AccessToken(ctx)
	}
	if err != nil {
		err = fmt.Errorf("keeper: no access token: %w", err)
		k.note(Event{Kind: EventBearerFailed, Err: err})
		return nil, err
	}
	k.note(Event{Kind: EventBearer})
	return k.newBearer(token, last), nil
}

// release gives the lease back, whatever time is left.
func (k *Keeper) release(ctx context.Context, lease Lease) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveLimit)
	defer cancel()
	if err := lease.Release(ctx); err != nil {
		k.note(Event{Kind: EventStateFailed, Err: stateError("release", err)})
	}
}

// touch tells the state that the session was used.
func (k *Keeper) touch(at time.Time) {
	ctx, cancel := context.WithTimeout(context.Background(), saveLimit)
	defer cancel()
	if err := k.config.State.Touch(ctx, at); err != nil {
		k.note(Event{Kind: EventStateFailed, Err: stateError("touch", err)})
	}
}

func stateError(what string, err error) error {
	if errors.Is(err, ErrLeaseLost) {
		return err
	}
	return fmt.Errorf("keeper: state: %s: %w", what, err)
}
