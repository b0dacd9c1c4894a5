package authority

import (
	"context"
	"errors"
	"time"
)

// sweepBatch is how many sessions one step of a sweep takes, so that a sweep never blocks the
// store for long.
const sweepBatch = 500

// sweepHold is how long a replica that sweeps holds the leader lock: longer than a batch
// takes, and not much longer than the time between two sweeps.
const sweepHold = 15 * time.Second

// leads reports whether this Authority is the one that sweeps. It is called before each
// batch.
func (a *Authority) leads(ctx context.Context) (bool, error) {
	if a.stores.Leader == nil {
		return true, nil
	}
	mine, err := a.stores.Leader.HoldLeaderLock(ctx, "sweep", sweepHold)
	return mine, unavailable(err)
}

// Sweep ends the sessions of interrupted password changes, marks expired sessions as ended,
// removes those that ended longer ago than Policy.KeepEnded, removes the results of resets
// that can no longer be repeated, trims the audit trail, and writes pending refusals
// (RecordRefused). Call it every few seconds. Until it has run nothing is wrong, because an
// expired session is refused when it is read. Of several Authorities with the same stores
// one sweeps at a time.
func (a *Authority) Sweep(ctx context.Context) error {
	a.writeRefusals(ctx, false)
	counted := a.countHashes(ctx)
	if mine, err := a.leads(ctx); !mine || err != nil {
		return errors.Join(counted, err)
	}
	return errors.Join(counted, a.sweepPendingEnds(ctx), a.sweepExpired(ctx), a.purgeEnded(ctx),
		a.forgetResets(ctx), a.trimAudit(ctx))
}

// ClockSlack is how far apart correct clocks may be.
const ClockSlack = 5 * time.Second

// pullBackChanges corrects changes of passwords in the future, written by a clock that was
// ahead, so that their resets can not be repeated for longer.
func (a *Authority) pullBackChanges(ctx context.Context) error {
	for ctx.Err() == nil {
		future := a.now().Add(ClockSlack)
		users, err := a.stores.Users.Users(ctx, UserQuery{ChangedAfter: future})
		if err != nil || len(users) == 0 {
			return unavailable(err)
		}
		for _, user := range users {
			_, err := a.stores.Users.UpdateUser(ctx, user.Name, func(now *User) error {
				if ahead := now.PasswordChangedAt.Sub(a.now()); ahead > 0 {
					now.PasswordChangedAt = now.PasswordChangedAt.Add(-ahead)
					now.LastReset.Until = now.LastReset.Until.Add(-ahead)
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

// forgetResets removes the results of resets that can no longer be repeated.
func (a *Authority) forgetResets(ctx context.Context) error {
	if err := a.pullBackChanges(ctx); err != nil {
		return err
	}
	for ctx.Err() == nil {
		users, err := a.stores.Users.Users(ctx, UserQuery{ResetExpired: a.now()})
		if err != nil || len(users) == 0 {
			return unavailable(err)
		}
		for _, user := range users {
			_, err := a.stores.Users.UpdateUser(ctx, user.Name, func(now *User) error {
				if !now.LastReset.Until.After(user.LastReset.Until) {
					now.LastReset = IdempotentReset{}
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

func (a *Authority) sweepPendingEnds(ctx context.Context) error {
	users, err := a.stores.Users.Users(ctx, UserQuery{PendingEnd: true})
	if err != nil {
		return unavailable(err)
	}
	for _, user := range users {
		a.endPending(ctx, user)
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
			events[i] = Event{
				At: a.now(), Kind: EventExpired,
				User: session.User, SessionID: session.Key.ID(), Client: session.Client,
			}
		}
		a.recordEvents(ctx, events...)
		if mine, err := a.leads(ctx); len(swept) < sweepBatch || !mine || err != nil {
			return err
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
		if mine, err := a.leads(ctx); n < sweepBatch || !mine || err != nil {
			return err
		}
	}
	return nil
}
