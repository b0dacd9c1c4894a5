package authority

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/latchkey/latchkey/internal/secret"
)

// How long the parts of an attempt may take. A reservation is extended for as long as
// the attempt lasts. So only a process that hangs or dies loses one, and it does not
// lock anyone out for long.
const (
	attemptTimeout    = 30 * time.Second
	settleTimeout     = 10 * time.Second
	reservationExtend = 3 * time.Second
)

// attempt is one evaluation of a password under a reserved strike. Every attempt that
// begin returned must be settled, once.
type attempt struct {
	authority *Authority
	client    string // the API client that it is made for
	placed    bool   // it has a place of the admission
	key       StrikeKey
	id        ReservationID
	user      User // zero if no user has the name
	known     bool
	sum       []byte // the hash of the password that was verified
	rehash    string // the password under the current parameters, if the stored hash has others
	extend    *time.Timer
	settled   atomic.Bool
}

// begin reserves a strike for an attempt of an API client. While all that are left are
// reserved, it waits in the login queue. It returns ErrAccountLocked if none is left, and
// ErrOverloaded if too many attempts of the client wait.
func (a *Authority) begin(ctx context.Context, client, name string) (*attempt, error) {
	key := strikeKey(name)
	first, err := a.admission.names.enter(ctx, client, key)
	if err != nil {
		return nil, err
	}
	defer a.admission.names.leave(first)
	for {
		if err := a.admission.places.take(ctx, client); err != nil {
			return nil, unavailable(err)
		}
		id, err := a.reserve(ctx, key)
		if err == nil {
			return a.load(ctx, client, name, key, id)
		}
		a.admission.places.give()
		switch {
		case errors.Is(err, errLocked):
			return nil, ErrAccountLocked
		case !errors.Is(err, errBusy):
			return nil, unavailable(err)
		}
		if err := first.wait(ctx); err != nil {
			return nil, unavailable(err)
		}
	}
}

// reserve reserves a strike. It returns errLocked or errBusy if none is left.
func (a *Authority) reserve(ctx context.Context, key StrikeKey) (id ReservationID, err error) {
	_, _ = rand.Read(id[:])
	now := a.now()
	var refused error
	err = a.stores.Strikes.UpdateStrikes(ctx, key, func(s *Strikes) error {
		locked := s.LockedAt
		refused = a.lock.reserve(s, id, now)
		if s.LockedAt.Before(locked) && errors.Is(refused, errLocked) {
			return nil // a lock in the future became one of now, which is stored
		}
		return refused
	})
	if err == nil {
		err = refused
	}
	return id, err
}

// load returns an attempt that has a place and this reservation, with its user.
func (a *Authority) load(
	ctx context.Context, client, name string, key StrikeKey, id ReservationID) (*attempt, error,
) {
	t := &attempt{authority: a, client: client, placed: true, key: key, id: id}
	t.hold()
	user, err := a.stores.Users.User(ctx, name)
	switch {
	case err == nil:
		t.user, t.known = user, true
	case !errors.Is(err, ErrNotFound):
		_, _ = t.settle(ctx, abandoned)
		return nil, unavailable(err)
	}
	return t, nil
}

// hold extends the reservation until the attempt is settled.
func (t *attempt) hold() {
	t.extend = time.AfterFunc(attemptTimeout, func() {
		ctx, cancel := context.WithTimeout(context.Background(), reservationExtend)
		defer cancel()
		// If the reservation is lost, that shows when the attempt is settled.
		_ = t.authority.stores.Strikes.UpdateStrikes(ctx, t.key, func(s *Strikes) error {
			return s.extend(t.id, t.authority.now())
		})
		if !t.settled.Load() {
			t.extend.Reset(reservationExtend)
		}
	})
	t.extend.Reset(reservationExtend) // now that the function finds the timer
}

// verify reports whether the password is right, in a hash slot. For an unknown name it
// takes just as long. In the same slot it then passes the result to further, which may be
// nil: after a password was evaluated, nothing may keep the attempt from being judged.
func (t *attempt) verify(ctx context.Context, password secret.Text, further func(right bool)) (bool, error) {
	defer t.leave()
	a := t.authority
	stored, err := a.decoy(ctx, t.key)
	if err != nil {
		return false, err
	}
	if t.known {
		if stored, err = parseHash(t.user.PasswordHash); err != nil {
			return false, unavailable(err)
		}
	}
	right := false
	err = a.admission.hash(ctx, t.client, func() {
		t.sum = a.sumOf(stored, password)
		right = stored.holds(t.sum) && t.known
		if right && stored.params != a.params {
			t.rehash = a.hash(password)
		}
		if further != nil {
			further(right)
		}
	})
	return right, err
}

// leave gives the attempt's place to the next.
func (t *attempt) leave() {
	if t.placed {
		t.placed = false
		t.authority.admission.places.give()
	}
}

// settle ends the attempt. It does so even if the caller has left: what was evaluated
// counts.
func (t *attempt) settle(ctx context.Context, o outcome) (Strikes, error) {
	return t.conclude(ctx, func(s *Strikes, now time.Time) error { return t.authority.lock.settle(s, t.id, o, now) })
}

// settleGuess settles a wrong password of a session. It reports whether that was a strike:
// the same wrong password again in one session is none, because transports repeat a reset
// unasked.
func (t *attempt) settleGuess(ctx context.Context, session SessionKey) (strikes Strikes, counted bool, err error) {
	guess := t.authority.guess(session, t.sum)
	strikes, err = t.conclude(ctx, func(s *Strikes, now time.Time) (err error) {
		counted, err = t.authority.lock.settleGuess(s, t.id, guess, now)
		return err
	})
	return strikes, counted && err == nil, err
}

func (t *attempt) conclude(ctx context.Context, change func(*Strikes, time.Time) error) (Strikes, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	a := t.authority
	t.leave()
	t.settled.Store(true)
	t.extend.Stop()
	now := a.now()
	var strikes Strikes
	err := a.stores.Strikes.UpdateStrikes(ctx, t.key, func(s *Strikes) error {
		err := change(s, now)
		strikes = *s
		return err
	})
	a.admission.names.settled(t.key)
	if err != nil {
		return Strikes{}, unavailable(err)
	}
	if a.settledStrikes.Add(1)%foldEvery == 0 {
		_ = a.stores.Strikes.FoldStrikes(ctx, a.foldBounds()) // the next time makes up for it
	}
	return strikes, nil
}

// guess identifies a wrong password of a session by its hash. A stolen database reveals
// nothing about it unless the server key is stolen too, and then as little as about the
// passwords themselves.
func (a *Authority) guess(session SessionKey, sum []byte) (guess Guess) {
	mac := hmac.New(sha256.New, a.key)
	mac.Write([]byte("guess:"))
	mac.Write(session[:])
	mac.Write(sum)
	copy(guess[:], mac.Sum(nil))
	return guess
}

// fail settles a wrong password of a login and records it. It returns ErrUnavailable if
// the strike could not be counted: then the caller must not learn the result.
func (t *attempt) fail(ctx context.Context, origin Origin) error {
	strikes, err := t.settle(ctx, failed)
	if err != nil {
		return err
	}
	t.recordFailure(ctx, origin, Event{Kind: EventLogInFailed}, strikes, true)
	return nil
}

// recordFailure records a wrong password that was settled, and the lock that it caused.
func (t *attempt) recordFailure(ctx context.Context, origin Origin, event Event, strikes Strikes, counted bool) {
	event.User = t.user.Name
	if !counted {
		event.Detail = "the same wrong password again in this session, not counted" + event.Detail
		t.authority.record(ctx, origin, event)
		return
	}
	event.Detail = fmt.Sprintf("failure %d of %d", strikes.Failures, t.authority.policy.LockAfter) + event.Detail
	if !t.known {
		event.Detail += ", unknown user name"
	}
	t.authority.record(ctx, origin, event)
	if !strikes.LockedAt.IsZero() {
		t.authority.record(ctx, origin, Event{Kind: EventLocked, User: t.user.Name})
	}
}
