package keeper

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/credential"
	"github.com/latchkey/latchkey/keeper/internal/ledger"
)

const (
	// renewLimit bounds a renewal of the session, including the wait for the lease.
	renewLimit = 2 * time.Minute
	// leaseWait is how long a renewal waits for the lease before it checks whether
	// another process has recorded a session.
	leaseWait = 20 * time.Second
	// logInLimit bounds a login. latchkey.Client is done after 30 s by default.
	logInLimit = time.Minute
	// saveLimit bounds a use of the state that must not be canceled.
	saveLimit = 10 * time.Second
)

// renewSession returns a live session: the recorded one, or a new one. It runs in one
// flight at a time. During the wait after a failure it only looks for a session that
// another process has recorded, and for a reset of the guard.
func (k *Keeper) renewSession(ctx context.Context, waiting bool) (s *session, err error) {
	held := k.sessions.current.Load()
	defer func() {
		if s != nil && held != nil {
			held.over.Store(true)
		}
	}()
	if waiting {
		record, s, err := k.find(ctx)
		if s != nil {
			return s, nil
		}
		if err != nil || record.Resets == k.resets {
			return nil, errStillWaiting
		}
	}
	c, unreadable := k.loadCredential(ctx)
	k.user = c.User
	record, s, err := k.find(ctx)
	if s != nil {
		return s, nil
	}
	if err == nil {
		k.resets, err = record.Resets, unreadable
	}
	if err != nil {
		return nil, k.logInFailed(err)
	}
	h, s, err := k.acquireOrFind(ctx)
	if s != nil {
		return s, nil
	}
	if err != nil {
		return nil, k.logInFailed(err)
	}
	defer h.release(ctx)
	k.resets = h.record.Resets
	return h.reach(ctx, ledger.Renew)
}

// find returns the record, and the recorded session if it is live.
func (k *Keeper) find(ctx context.Context) (*ledger.Record, *session, error) {
	record, err := k.load(ctx)
	if err != nil {
		return nil, nil, err
	}
	token, used, ok := k.rules.Find(record, k.user, k.sessions.current.Load().held(), k.now())
	if !ok {
		return record, nil, nil
	}
	return record, k.foundSession(token, used), nil
}

// foundSession returns a session that was in the State.
func (k *Keeper) foundSession(token string, used time.Time) *session {
	k.note(Event{Kind: EventSessionFound})
	s := k.newSession(latchkey.Secret(token), used)
	s.found = true
	return s
}

// acquireOrFind returns the lease, or a session that the holder of the lease has
// recorded before it was done, as one that rotates the password or hangs.
func (k *Keeper) acquireOrFind(ctx context.Context) (*leased, *session, error) {
	for {
		waiting, cancel := context.WithTimeoutCause(ctx, leaseWait, errFlightTime)
		lease, err := k.config.State.Acquire(waiting)
		late := waiting.Err() != nil
		cancel()
		if err == nil {
			h, err := k.open(ctx, lease)
			return h, nil, err
		}
		if !late {
			return nil, nil, stateError("acquire", err)
		}
		looking, done := context.WithTimeout(context.WithoutCancel(ctx), saveLimit)
		_, s, _ := k.find(looking)
		done()
		if s != nil || ctx.Err() != nil {
			return nil, s, stateError("acquire", err)
		}
	}
}

// open reads the record under a new lease. On an error it releases the lease.
func (k *Keeper) open(ctx context.Context, lease Lease) (*leased, error) {
	h := &leased{Keeper: k, lease: lease}
	var err error
	if h.record, err = k.load(ctx); err != nil {
		h.release(ctx)
		return nil, err
	}
	if kept := h.kept.Load(); kept != nil {
		h.recall(ctx, kept)
	}
	h.saveChanges(ctx)
	return h, nil
}

// load reads the record.
func (k *Keeper) load(ctx context.Context) (*ledger.Record, error) {
	saved, err := k.config.State.Load(ctx)
	if err != nil {
		return nil, stateError("load", err)
	}
	if saved.Data == "" {
		salt := make([]byte, ledger.SaltSize)
		_, _ = rand.Read(salt) // never fails, says its documentation
		return ledger.New(salt), nil
	}
	record, err := ledger.Open(saved.Data.Reveal(), saved.LastUse, k.now())
	if err != nil {
		return nil, recordError(err)
	}
	return record, nil
}

// leased is the record under the lease. One goroutine uses it.
type leased struct {
	*Keeper
	lease  Lease
	record *ledger.Record

	credential *credential.Credential // that the store holds; nil if it has to be loaded
	session    *session               // from the last login
	storeErr   error                  // why the store did not take the new password
	resetErr   error                  // why the response to the reset is not known
	resetSent  bool                   // and may have been executed
	ending     ledger.Ending          // of the rotation
	unsent     bool                   // the record notes an action that was not carried out
}

// reach acts until goal is reached, or until nothing more can be done for it now: it
// decides, records, acts and settles. For ledger.Renew it returns the session.
func (h *leased) reach(ctx context.Context, goal ledger.Goal) (*session, error) {
	defer h.saveChanges(ctx)
	for {
		action, err := h.decide(ctx, goal)
		if err != nil {
			return nil, err
		}
		if goal != ledger.Renew || h.record.Rotation != nil {
			h.stepOf(action, goal)
		}
		if err := h.saveBefore(ctx, action); err != nil {
			return nil, err
		}
		if action.Do == ledger.ResetPassword {
			ctx = context.WithoutCancel(ctx) // from now on a caller that leaves changes nothing
		}
		outcome, err := h.act(ctx, action)
		begun := h.begun()
		ending := h.rules.Settle(h.record, action, outcome, h.now())
		h.settled(ctx, action, outcome)
		if ending != ledger.NotEnded {
			h.ended(ending, begun)
		}
		switch {
		case err != nil:
			return nil, h.failed(action, err)
		case action.Do == ledger.Done:
			return nil, nil
		case goal == ledger.Renew && (action.Do == ledger.UseSession || action.Do == ledger.LogIn):
			return h.session, nil
		case action.Do == ledger.LogIn:
			h.install(h.session)
		case action.Do == ledger.ResetPassword:
			goal = ledger.Finish
		}
	}
}

// decide returns the next action, which the record notes.
func (h *leased) decide(ctx context.Context, goal ledger.Goal) (ledger.Action, error) {
	err := h.readCredential(ctx)
	if err != nil && goal != ledger.Renew {
		return ledger.Action{}, err
	}
	held := h.sessions.current.Load().held()
	if err != nil { // a recorded session needs no credential
		token, used, ok := h.rules.Find(h.record, h.user, held, h.now())
		if !ok {
			return ledger.Action{}, h.logInFailed(err)
		}
		return ledger.Action{Do: ledger.UseSession, Token: token, Used: used}, nil
	}
	stored, begun := forLedger(*h.credential), h.begun()
	if ending := h.rules.Observe(h.record, stored); ending != ledger.NotEnded {
		h.ended(ending, begun)
	}
	action := h.rules.Decide(h.record, goal, stored, held, h.now())
	h.record.Begin(action, h.now())
	return action, nil
}

// readCredential makes sure that the credential is loaded.
func (h *leased) readCredential(ctx context.Context) error {
	if h.credential != nil {
		return nil
	}
	c, err := h.loadCredential(ctx)
	if err == nil {
		h.credential = &c
	}
	return err
}

// saveBefore saves the record before a login or a reset. If it cannot be saved, nothing
// is sent.
func (h *leased) saveBefore(ctx context.Context, action ledger.Action) error {
	if action.Do != ledger.LogIn && action.Do != ledger.ResetPassword {
		return nil
	}
	err := h.save(ctx)
	h.unsent = err != nil
	switch {
	case err == nil:
		return nil
	case action.Do == ledger.ResetPassword:
		return fmt.Errorf("keeper: record the reset, which was not sent: %w", err)
	}
	return h.logInFailed(fmt.Errorf("keeper: record the login, which was not sent: %w", err))
}

// act carries out action. An error ends the loop.
func (h *leased) act(ctx context.Context, action ledger.Action) (ledger.Outcome, error) {
	switch action.Do {
	case ledger.UseSession:
		h.session = h.foundSession(action.Token, action.Used)
	case ledger.Wait:
		return ledger.Outcome{}, &tooSoonError{why: action.Reason, left: action.Left}
	case ledger.Stop:
		return ledger.Outcome{}, newLatchedError(action.Latch, nil)
	case ledger.OtherAccount:
		return ledger.Outcome{}, errOtherAccount
	case ledger.AskUpstream:
		err := h.askUpstream(ctx)
		return outcomeOf(err), err
	case ledger.LogIn:
		token, err := h.logIn(ctx, action.Credential)
		out := outcomeOf(err)
		out.Token = token.Reveal()
		return out, err
	case ledger.CheckStore:
		err := h.put(ctx, action.Credential)
		return outcomeOf(err), err
	case ledger.ResetPassword:
		return h.resetPassword(ctx, action)
	case ledger.ReadResponse:
		password, err := latchkey.ParseNewPassword(latchkey.Secret(action.Response))
		h.resetErr = err
		out := outcomeOf(err)
		out.Password = password.Reveal()
		return out, nil
	case ledger.StorePassword:
		h.storeErr = h.put(ctx, action.Credential)
		return outcomeOf(h.storeErr), nil
	}
	return ledger.Outcome{}, nil
}

// settled saves the outcome of a login or a reset, and creates the session of a login.
func (h *leased) settled(ctx context.Context, action ledger.Action, outcome ledger.Outcome) {
	if action.Do == ledger.LogIn || action.Do == ledger.ResetPassword {
		h.saveChanges(ctx)
	}
	if action.Do == ledger.LogIn && outcome.Verdict == ledger.Accepted {
		h.note(Event{Kind: EventLogIn})
		h.session = h.newSession(latchkey.Secret(outcome.Token), h.record.Session.Created)
	}
}

// failed returns the error that callers get for err, which has ended action.
func (h *leased) failed(action ledger.Action, err error) error {
	switch action.Do {
	case ledger.Stop:
		return h.latched(err)
	case ledger.Wait:
		if !action.OfSession {
			return h.logInFailed(err)
		}
	case ledger.AskUpstream:
		return h.logInFailed(fmt.Errorf("keeper: %s; no login is made until the upstream responds: %w", action.Reason, err))
	case ledger.LogIn:
		err = h.logInFailed(fmt.Errorf("keeper: the login failed: %w", err))
		if latch := h.record.LatchAfter(action); latch.Kind != ledger.Unlatched {
			return h.latched(newLatchedError(latch, err))
		}
	}
	return err
}

// logIn sends a login. If the gateway refuses the bearer, which it does before any
// service sees the credential, the login is sent again with the fresh bearer that the
// upstream's client then gets.
func (k *Keeper) logIn(ctx context.Context, c ledger.Credential) (latchkey.Secret, error) {
	ctx, cancel := context.WithTimeout(ctx, logInLimit)
	defer cancel()
	token, err := k.config.Upstream.LogIn(ctx, c.User, latchkey.Secret(c.Password))
	var fault *latchkey.FaultError
	if errors.Is(err, latchkey.ErrUnauthorized) && errors.As(err, &fault) && verdictOf(err) == ledger.Unsent {
		k.note(Event{Kind: EventBearerRefused})
		token, err = k.config.Upstream.LogIn(ctx, c.User, latchkey.Secret(c.Password))
	}
	return token, err
}

func outcomeOf(err error) ledger.Outcome {
	out := ledger.Outcome{Verdict: verdictOf(err), MayBeLate: errors.Is(err, latchkey.ErrInvalidCredentials)}
	if err != nil {
		out.Reason = err.Error()
	}
	return out
}

// verdictOf returns what the error of a login means for the account.
func verdictOf(err error) ledger.Verdict {
	var fault *latchkey.FaultError
	switch {
	case err == nil:
		return ledger.Accepted
	case errors.Is(err, latchkey.ErrNotSent):
		return ledger.Unsent
	case errors.Is(err, latchkey.ErrInvalidCredentials), errors.Is(err, latchkey.ErrAccountLocked),
		errors.Is(err, latchkey.ErrInvalidCharacter): // a password with such a character is never accepted
		return ledger.Rejected
	case errors.Is(err, latchkey.ErrThrottled), errors.Is(err, latchkey.ErrBlocked):
		return ledger.Unsent
	case errors.As(err, &fault) && fault.StatusCode < 500:
		return ledger.Unsent // from the gateway, because of the bearer for example
	}
	return ledger.Unclear
}

// save saves the record.
func (h *leased) save(ctx context.Context) error {
	err := h.lease.Save(ctx, latchkey.Secret(h.record.Encode()))
	if err != nil {
		return stateError("save", err)
	}
	h.record.Saved()
	return nil
}

// saveChanges saves the record if it was changed, whatever time is left. A failure
// does not undo what happened: it is noted, and a login that is on record counts as a
// strike from then on.
func (h *leased) saveChanges(ctx context.Context) (saved bool) {
	if h.unsent || !h.record.NeedsSave() {
		return !h.unsent
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveLimit)
	defer cancel()
	err := h.save(ctx)
	if err != nil {
		h.note(Event{Kind: EventStateFailed, Err: err})
	}
	return err == nil
}

// release gives the lease back, whatever time is left.
func (h *leased) release(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveLimit)
	defer cancel()
	if err := h.lease.Release(ctx); err != nil {
		h.note(Event{Kind: EventStateFailed, Err: stateError("release", err)})
	}
}
