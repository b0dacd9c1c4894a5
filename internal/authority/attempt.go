package authority

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/latchkey/latchkey/internal/secret"
)

// How long the parts of an attempt may take. A reservation is extended for as long as
// the attempt lasts, so that only a stuck or dead process ever loses one, and keeps
// nobody out for long.
const (
	attemptTimeout    = 30 * time.Second
	settleTimeout     = 10 * time.Second
	reservationHold   = 10 * time.Second
	reservationExtend = 3 * time.Second
)

// strikeKey returns what strikes of a user name are counted under.
func strikeKey(name string) StrikeKey { return sha256.Sum256([]byte(name)) }

// attempt is one evaluation of a password under a reserved strike. Every attempt
// that begin returned must be settled, once.
type attempt struct {
	authority   *Authority
	reservation Reservation
	user        User // zero where nobody has the name
	known       bool
	sum         []byte // the hash of the password that was verified
	rehash      string // the password under today's parameters, where the stored hash has others
	extend      *time.Timer
	settled     atomic.Bool
}

// hold extends the reservation until the attempt is settled.
func (t *attempt) hold() {
	t.extend = time.AfterFunc(attemptTimeout, func() {
		ctx, cancel := context.WithTimeout(context.Background(), reservationExtend)
		defer cancel()
		// An error shows when the attempt is settled, if the reservation is lost by then.
		_ = t.authority.stores.Strikes.ExtendStrike(ctx, t.reservation, t.authority.now(), reservationHold)
		if !t.settled.Load() {
			t.extend.Reset(reservationExtend)
		}
	})
	t.extend.Reset(reservationExtend) // now that the function finds the timer
}

// begin reserves a strike, waiting its turn while all that are left are
// reserved. It answers ErrAccountLocked where there is none left.
func (a *Authority) begin(ctx context.Context, name string) (*attempt, error) {
	key := strikeKey(name)
	turn, err := a.turns.take(ctx, key)
	if err != nil {
		return nil, err
	}
	defer a.turns.leave(key, turn)
	limit := StrikeLimit{Max: a.policy.LockAfter, UnlockAfter: a.policy.UnlockAfter, Hold: reservationHold}
	for {
		limit.Now = a.now()
		reservation, err := a.stores.Strikes.ReserveStrike(ctx, key, limit)
		switch {
		case err == nil:
			return a.load(ctx, name, reservation)
		case errors.Is(err, ErrLocked):
			return nil, ErrAccountLocked
		case !errors.Is(err, ErrBusy):
			return nil, unavailable(err)
		}
		if err := turn.wait(ctx); err != nil {
			return nil, unavailable(err)
		}
	}
}

func (a *Authority) load(ctx context.Context, name string, reservation Reservation) (*attempt, error) {
	t := &attempt{authority: a, reservation: reservation}
	t.hold()
	user, err := a.stores.Users.User(ctx, name)
	switch {
	case err == nil:
		t.user, t.known = user, true
	case !errors.Is(err, ErrNotFound):
		_, _ = t.settle(ctx, Abandoned)
		return nil, unavailable(err)
	}
	return t, nil
}

// verify tells whether the password is right, in a hash slot. Nobody's password
// is looked at just as long. And then, in the same slot, it hands the answer to
// further, which may be nil: once a password was looked at, nothing may keep the
// attempt from being judged.
func (t *attempt) verify(ctx context.Context, password secret.Text, further func(right bool)) (bool, error) {
	a := t.authority
	stored, err := a.decoy(ctx, t.reservation.Key)
	if err != nil {
		return false, err
	}
	if t.known {
		if stored, err = parseHash(t.user.PasswordHash); err != nil {
			return false, unavailable(err)
		}
	}
	right := false
	err = a.slots.run(ctx, func() {
		t.sum = stored.sumOf(password)
		right = stored.holds(t.sum) && t.known
		if right && stored.params != a.params {
			t.rehash = a.params.hash(password)
		}
		if further != nil {
			further(right)
		}
	})
	return right, admission(err)
}

// admission is what callers are told of an error of hashSlots.run.
func admission(err error) error {
	if err == nil || errors.Is(err, ErrOverloaded) {
		return err
	}
	return unavailable(err)
}

// settle ends the attempt. It happens even when the caller has left: what was
// evaluated counts.
func (t *attempt) settle(ctx context.Context, outcome Outcome) (strikes Strikes, err error) {
	err = t.conclude(ctx, func(ctx context.Context, store StrikeStore) (err error) {
		strikes, err = store.SettleStrike(ctx, t.reservation, outcome, t.authority.now())
		return err
	})
	return strikes, err
}

// failAgain settles a wrong password of a session. It reports whether that was a
// strike: the same wrong password again in one session is none, because
// transports repeat a reset without asking anybody.
func (t *attempt) failAgain(ctx context.Context, session SessionKey) (strikes Strikes, counted bool, err error) {
	guess := t.authority.guess(session, t.sum)
	err = t.conclude(ctx, func(ctx context.Context, store StrikeStore) (err error) {
		strikes, counted, err = store.FailStrike(ctx, t.reservation, guess, t.authority.now())
		return err
	})
	return strikes, counted, err
}

func (t *attempt) conclude(ctx context.Context, settle func(context.Context, StrikeStore) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	a := t.authority
	t.settled.Store(true)
	t.extend.Stop()
	err := settle(ctx, a.stores.Strikes)
	a.turns.settled(t.reservation.Key)
	return unavailable(err)
}

// guess identifies a wrong password of a session by its hash. So a stolen
// database tells nothing of what was tried, as long as the server key is not
// stolen with it, and then as little as of the passwords themselves.
func (a *Authority) guess(session SessionKey, sum []byte) (guess Guess) {
	mac := hmac.New(sha256.New, a.key)
	mac.Write([]byte("guess:"))
	mac.Write(session[:])
	mac.Write(sum)
	copy(guess[:], mac.Sum(nil))
	return guess
}

// fail settles a wrong password of a login and writes it down. It answers
// ErrUnavailable where the strike could not be counted: then nothing may be told.
func (t *attempt) fail(ctx context.Context, origin Origin) error {
	strikes, err := t.settle(ctx, Failed)
	if err != nil {
		return err
	}
	t.recordFailure(ctx, origin, Event{Kind: EventLogInFailed}, strikes, true)
	return nil
}

// recordFailure writes down a wrong password that was settled, and the lock that
// came of it.
func (t *attempt) recordFailure(ctx context.Context, origin Origin, event Event, strikes Strikes, counted bool) {
	event.User = t.user.Name
	if !counted {
		event.Detail = "the same wrong password again in this session, not counted" + event.Detail
		t.authority.record(ctx, origin, event)
		return
	}
	event.Detail = fmt.Sprintf("failure %d of %d", strikes.Failures, t.reservation.Max) + event.Detail
	if !t.known {
		event.Detail += ", unknown user name"
	}
	t.authority.record(ctx, origin, event)
	if !strikes.LockedAt.IsZero() {
		t.authority.record(ctx, origin, Event{Kind: EventLocked, User: t.user.Name})
	}
}
