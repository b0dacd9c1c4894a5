package authority

import (
	"context"
	"errors"
)

// sweepBatch is how many sessions one step of a sweep takes, so that a sweep
// never holds up the store for long.
const sweepBatch = 500

// Sweep does what is due: it ends sessions of password changes that were
// interrupted, marks expired sessions as ended, forgets those that ended longer
// ago than Policy.KeepEnded, and forgets the answers of resets that can no longer
// be repeated. Call it every few seconds; nothing is wrong while it has not run,
// for expired means gone at the moment of reading.
func (a *Authority) Sweep(ctx context.Context) error {
	return errors.Join(a.sweepEndings(ctx), a.sweepExpired(ctx), a.purgeEnded(ctx), a.forgetRepeats(ctx), a.trimAudit(ctx))
}

// forgetRepeats removes what can be had no more.
func (a *Authority) forgetRepeats(ctx context.Context) error {
	for ctx.Err() == nil {
		users, err := a.stores.Users.Users(ctx, UserQuery{RepeatBefore: a.now()})
		if err != nil || len(users) == 0 {
			return unavailable(err)
		}
		for _, user := range users {
			_, err := a.stores.Users.UpdateUser(ctx, user.Name, func(now *User) error {
				if !now.Repeat.Until.After(user.Repeat.Until) {
					now.Repeat = Repeat{}
				}
				return nil
			})
			if err != nil && !errors.Is(err, ErrNotFound) {
				return unavailable(err)
			}
		}
	}
	return nil
}

func (a *Authority) sweepEndings(ctx context.Context) error {
	users, err := a.stores.Users.Users(ctx, UserQuery{Ending: true})
	if err != nil {
		return unavailable(err)
	}
	for _, user := range users {
		a.finishEnding(ctx, user)
	}
	return nil
}

func (a *Authority) sweepExpired(ctx context.Context) error {
	for ctx.Err() == nil {
		swept, err := a.stores.SessionLog.SweepSessions(ctx, a.now(), a.policy.IdleTimeout, sweepBatch)
		if err != nil {
			return unavailable(err)
		}
		if len(swept) == 0 {
			return nil
		}
		events := make([]Event, len(swept))
		for i, session := range swept {
			events[i] = Event{At: a.now(), Kind: EventExpired, User: session.User, SessionID: session.Key.ID(), Client: session.Client}
		}
		a.recordEvents(ctx, events...)
		if len(swept) < sweepBatch {
			return nil
		}
	}
	return nil
}

func (a *Authority) purgeEnded(ctx context.Context) error {
	for ctx.Err() == nil {
		n, err := a.stores.SessionLog.PurgeSessions(ctx, a.now().Add(-a.policy.KeepEnded), sweepBatch)
		if err != nil {
			return unavailable(err)
		}
		if n < sweepBatch {
			return nil
		}
	}
	return nil
}
