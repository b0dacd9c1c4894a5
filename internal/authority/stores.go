package authority

import (
	"context"
	"time"
)

// Stores are the places where an Authority keeps its state. One value may fill
// all of the fields; sessions may live elsewhere than the rest.
//
// Every method is safe for concurrent use and returns either the answer or an
// error that says why there is none. A change is durable when the method
// returns. Times that go in come out equal to the microsecond, in UTC; a zero
// time stays zero.
type Stores struct {
	Users      UserStore
	Strikes    StrikeStore
	Clients    ClientStore
	Sessions   SessionStore
	SessionLog SessionLog
	Audit      AuditStore
	// Turns is set where several Authorities share the stores; nil: this one is
	// alone.
	Turns Turns
}

// Lease bounds how long a store that several Authorities share may return what it has
// in memory, from when that was last proven to be the same in the database. So an ended
// session is refused everywhere a Lease after EndSession or EndUserSessions returned,
// and by the store that they were called of at once. A change of an API client is in
// effect everywhere when it is acknowledged.
const Lease = 100 * time.Millisecond

// Turns has one of the Authorities that share stores do what need be done only
// once.
type Turns interface {
	// TakeTurn answers whether it is the caller's turn to do what name says, and
	// for how long it stays so: nobody else is told yes within hold. Who has it may
	// take it again. It passes on when hold is over.
	TakeTurn(ctx context.Context, name string, hold time.Duration) (bool, error)
}

// UserStore keeps users under their names, compared byte by byte.
type UserStore interface {
	// CreateUser answers ErrExists where the name is taken. In the same step it gives
	// the user an incarnation that is higher than that of every user before (see
	// User.WithIncarnation), and removes the strikes, the lock, the guesses and the
	// reservations of the name: they are of somebody else, who had it or guessed at it.
	CreateUser(ctx context.Context, user User) error
	// User answers ErrNotFound for a name that nobody has.
	User(ctx context.Context, name string) (User, error)
	// UpdateUser reads the user, lets change alter it and writes it back, all
	// in one atomic step: no other update comes between. An error of change
	// leaves the user as it was and is returned as it is. change may be called
	// more than once. It answers the user as written.
	UpdateUser(ctx context.Context, name string, change func(*User) error) (User, error)
	// RemoveUser answers ErrNotFound for a name that nobody has, and ErrUserInUse for
	// a user who is not disabled, or whose Ending is pending: without the user nothing
	// would remember sessions that are still to be ended.
	RemoveUser(ctx context.Context, name string) error
	// HashCounts counts the users by the part of their PasswordHash before the salt.
	// It is called once a minute.
	HashCounts(ctx context.Context) (map[string]int, error)
	// Users lists by name, ascending.
	Users(ctx context.Context, query UserQuery) ([]User, error)
}

// UserQuery selects users. The zero value selects the first 100.
type UserQuery struct {
	After  string // only names that sort behind this one, bytewise
	Ending bool   // only users with sessions that are still to be ended
	// ChangedAfter, unless zero, selects users with a Repeat whose password was changed
	// after it.
	ChangedAfter time.Time
	// RepeatBefore, unless zero, selects users whose Repeat ends at or before it.
	RepeatBefore time.Time
	Limit        int // at most so many; 0 means 100
}

// StrikeStore counts failed logins in a row. A strike is reserved before a
// password is looked at and settled afterwards, so that at most as many
// passwords are ever evaluated as there are strikes left, however many attempts
// arrive at once and wherever.
type StrikeStore interface {
	// ReserveStrike answers ErrLocked where the key is locked, and ErrBusy where
	// failures and live reservations together reach the limit. A lock older than
	// limit.UnlockAfter (if that is set and the lock was not made by an
	// operator) is lifted first, with its failures. Reservations that ran out
	// no longer count. A lock that is later than limit.Now, because a clock was ahead,
	// is made one of limit.Now.
	ReserveStrike(ctx context.Context, key StrikeKey, limit StrikeLimit) (Reservation, error)
	// SettleStrike ends a reservation: Failed adds a failure, and locks when
	// that makes the limit; Succeeded sets the failures to zero; Abandoned
	// changes nothing. It answers the strikes as they are then. A reservation
	// that ran out before now, or is settled already, answers
	// ErrReservationLost and changes nothing.
	SettleStrike(ctx context.Context, reservation Reservation, outcome Outcome, now time.Time) (Strikes, error)
	// ExtendStrike lets a reservation live for hold from now, unless it ran out, or is
	// settled: then it answers ErrReservationLost.
	ExtendStrike(ctx context.Context, reservation Reservation, now time.Time, hold time.Duration) error
	// FailStrike is SettleStrike with Failed, unless guess is one of the last 16
	// that it counted under the key: then it is the same failure again, and
	// FailStrike is SettleStrike with Abandoned. It reports which of both it was,
	// and remembers what it counted. Of several calls with the same guess exactly
	// one counts.
	FailStrike(ctx context.Context, reservation Reservation, guess Guess, now time.Time) (strikes Strikes, counted bool, err error)
	// Strikes answers the zero value for a key that has none.
	Strikes(ctx context.Context, key StrikeKey) (Strikes, error)
	// SetStrikes replaces failures and lock, as an operator wants them, and removes
	// the reservations: what was begun under them is settled with ErrReservationLost.
	SetStrikes(ctx context.Context, key StrikeKey, strikes Strikes) error
}

// ClientStore keeps API clients. Client is called for every request and has to
// be fast.
type ClientStore interface {
	CreateClient(ctx context.Context, client Client) error                                     // ErrExists
	Client(ctx context.Context, id ClientID) (Client, error)                                   // ErrNotFound
	Clients(ctx context.Context) ([]Client, error)                                             // by key, ascending
	UpdateClient(ctx context.Context, id ClientID, change func(*Client) error) (Client, error) // as UpdateUser
}

// SessionStore keeps live sessions under the hash of their token. UseSession is
// called for every request and has to be fast.
type SessionStore interface {
	// CreateSession answers ErrExists where the key is taken.
	CreateSession(ctx context.Context, session Session) error
	// UseSession answers the live session and slides its last use to now, never
	// backwards. It answers ErrNotFound for a key that was never created, has
	// ended, has not been used for idle or longer, or is past its ExpiresAt.
	// Once it said so, and from the moment EndSession or EndUserSessions
	// returned, no later call answers the session; of stores that share a database
	// the others follow within a Lease. A slide may reach the disk
	// later, but a restart, however abrupt, never makes a session expire early.
	UseSession(ctx context.Context, key SessionKey, now time.Time, idle time.Duration) (Session, error)
	// EndSession ends a session that has not ended yet, and answers it as it
	// was. Of several calls at once exactly one succeeds; the others, and calls
	// for keys that do not exist, answer ErrNotFound. It does not judge idleness.
	EndSession(ctx context.Context, key SessionKey, end End) (Session, error)
	// EndUserSessions ends the user's sessions whose PasswordVersion is below
	// version, except keep, and answers how many it ended.
	EndUserSessions(ctx context.Context, user string, version int64, keep SessionKey, end End) (int, error)
}

// SessionLog is the slow side of a session store: looking at sessions, and
// reclaiming those that nobody will use again.
type SessionLog interface {
	// Sessions lists newest first (by CreatedAt, then by key, descending).
	Sessions(ctx context.Context, query SessionQuery) ([]Session, error)
	// SweepSessions first makes times of now of those in the future that sessions have,
	// because a clock was ahead: a session created in the future keeps what is left of
	// its lifetime, and one that was used then is used now. UseSession does the latter,
	// too. Then it marks up to limit sessions as ended that are idle or past
	// their ExpiresAt at now, with ReasonExpired, and answers them. A session is
	// swept at most once, and never when it was used within idle before now.
	SweepSessions(ctx context.Context, now time.Time, idle time.Duration, limit int) ([]Session, error)
	// PurgeSessions removes up to limit sessions that ended before the given
	// time, and answers how many it removed.
	PurgeSessions(ctx context.Context, before time.Time, limit int) (int, error)
}

// SessionQuery selects sessions. The zero value selects the newest 100 that
// have not ended.
type SessionQuery struct {
	User  string // only of this user
	ID    string // only the one with this public ID
	Ended bool   // those that have ended, too, as long as they are kept
	// Before continues a listing: only sessions that sort behind this one
	// (its CreatedAt and Key are looked at).
	Before *Session
	Limit  int // at most so many; 0 means 100
}

// AuditStore keeps what happened, in order.
type AuditStore interface {
	// AppendAudit adds events, all or none. The store keeps what Valid returns,
	// numbers the events in Seq, and sets their Chain to what After returns for
	// that of the event before.
	AppendAudit(ctx context.Context, events ...Event) error
	// AuditEvents lists by Seq, ascending.
	AuditEvents(ctx context.Context, query AuditQuery) ([]Event, error)
	// TrimAudit removes the oldest events, up to the first that is not older than
	// before and up to limit of them, and returns how many. In the same step it
	// adds the event that note returns, unless there was nothing to remove. note
	// may be called more than once. An event that is later than now, because a clock
	// was ahead, counts as as old as the next one that is not.
	TrimAudit(ctx context.Context, before, now time.Time, limit int, note TrimNote) (int, error)
}

// TrimNote returns the event that takes the place of events that are removed, up to
// the one with these Seq and Chain.
type TrimNote func(removed int, seq int64, chain Chain) Event

// AuditQuery selects events. The zero value selects the oldest 100.
type AuditQuery struct {
	After int64     // only events with a higher Seq
	Since time.Time // only events at or after this time
	Until time.Time // only events before this time; zero: no such end
	User  string    // only of this user
	// Client selects only events of this API key, and of what operators did with it, and
	// Kinds only events of these kinds; empty: all.
	Client string
	Kinds  []EventKind
	Last   bool // the newest Limit of what matches, still in ascending order
	Limit  int  // at most so many; 0 means 100
}
