package authority

import (
	"context"
	"time"
)

// Stores are where an Authority keeps its state. One value may fill all of the fields.
// Sessions may be kept elsewhere than the rest.
//
// Every method is safe for concurrent use. A change is durable when the method returns.
// Times come back equal to the microsecond, in UTC; a zero time stays zero.
type Stores struct {
	Users      UserStore
	Strikes    StrikeStore
	Clients    ClientStore
	Sessions   SessionStore
	SessionLog SessionLog
	Audit      AuditStore
	// Leader is set if several Authorities share the stores; nil: this one is alone.
	Leader LeaderLock
}

// MaxStaleness bounds how old the state may be that a shared store returns from memory.
// Its age counts from the moment when it was last proven to be that of the database. So an
// ended session is refused everywhere MaxStaleness after EndSession or EndUserSessions
// returned, and at once by the store whose method was called. A change of an API client is
// in effect everywhere when it is acknowledged.
const MaxStaleness = 100 * time.Millisecond

// LeaderLock selects the one Authority, of those that share stores, that does what need
// be done only once.
type LeaderLock interface {
	// HoldLeaderLock reports whether the caller holds the lock of that name. If so, no
	// other caller gets it within hold. The holder may extend it by another call.
	HoldLeaderLock(ctx context.Context, name string, hold time.Duration) (bool, error)
}

// UserStore keeps users under their names, compared byte by byte.
type UserStore interface {
	// CreateUser returns ErrExists if the name is taken. In the same step it gives the
	// user a generation that is higher than that of every user before (see
	// User.WithGeneration), and removes all strikes of the name: they belong to an
	// earlier user of the name, or to a client that guessed at it.
	CreateUser(ctx context.Context, user User) error
	// User returns ErrNotFound if no user has the name.
	User(ctx context.Context, name string) (User, error)
	// UpdateUser reads the user, lets change alter it, writes it back and returns it as
	// written, all in one atomic step: no other update of the user comes between. An
	// error of change leaves the user as it was and is returned unchanged. change may be
	// called more than once.
	UpdateUser(ctx context.Context, name string, change func(*User) error) (User, error)
	// RemoveUser returns ErrNotFound if no user has the name, and ErrUserInUse if the user
	// is not disabled or has a PendingEnd: without the user nothing would remember the
	// sessions that are still to be ended.
	RemoveUser(ctx context.Context, name string) error
	// HashCounts counts the users by the part of their PasswordHash before the salt. It is
	// called once a minute.
	HashCounts(ctx context.Context) (map[string]int, error)
	// Users lists users by name, ascending.
	Users(ctx context.Context, query UserQuery) ([]User, error)
}

// UserQuery selects users. The zero value selects the first 100.
type UserQuery struct {
	After      string // only names that sort after this one, bytewise
	PendingEnd bool   // only users with a PendingEnd
	// ChangedAfter, unless zero, selects users with a LastReset whose password was changed
	// after it.
	ChangedAfter time.Time
	// ResetExpired, unless zero, selects users whose LastReset expires at or before it.
	ResetExpired time.Time
	Limit        int // at most so many; 0 means 100
}

// StrikeStore keeps strikes. The rules about them are in lockRule.
type StrikeStore interface {
	// UpdateStrikes reads the strikes of a key, lets change alter them and writes them
	// back, all in one atomic step: no other update of the key comes between. A key
	// without strikes has the zero value. An error of change leaves the strikes as they
	// were and is returned unchanged. change may be called more than once.
	UpdateStrikes(ctx context.Context, key StrikeKey, change func(*Strikes) error) error
	// Strikes returns the strikes of a key, or the zero value.
	Strikes(ctx context.Context, key StrikeKey) (Strikes, error)
	// FoldStrikes bounds what is stored for names that no user has. It replaces the oldest
	// of their strikes by a compact form, which has the failures and the lock only. The
	// other methods read that form as well.
	FoldStrikes(ctx context.Context, bounds FoldBounds) error
}

// FoldBounds are the bounds of FoldStrikes.
type FoldBounds struct {
	Keep   int // the newest strikes, users' included, that are not folded
	AtOnce int // how many are folded in one call
	// Most is about how many folded strikes are kept. Which of the others are removed is
	// random: an attacker cannot remove a certain one, except by filling the store with
	// several times as many others, each of which costs a password hash.
	Most int
	// ReservedBefore is when reservations were made that no longer matter. Strikes that
	// have reservations and changed later are not folded.
	ReservedBefore time.Time
}

// ClientStore keeps API clients. Client is called for every request and has to be fast.
type ClientStore interface {
	CreateClient(ctx context.Context, client Client) error   // ErrExists
	Client(ctx context.Context, id ClientID) (Client, error) // ErrNotFound
	Clients(ctx context.Context) ([]Client, error)           // by key, ascending
	// UpdateClient is for a client what UserStore.UpdateUser is for a user.
	UpdateClient(ctx context.Context, id ClientID, change func(*Client) error) (Client, error)
}

// SessionStore keeps live sessions under the hash of their token. UseSession is called for
// every request and has to be fast.
type SessionStore interface {
	// CreateSession returns ErrExists if the key is taken.
	CreateSession(ctx context.Context, session Session) error
	// UseSession returns the live session and slides its last use to now, never backwards.
	// It returns ErrNotFound for a key that was never created, has ended, or has expired
	// (see Session.Expired). After it has done so, and after EndSession or EndUserSessions
	// has returned, no later call returns the session; other stores of the same database
	// follow within MaxStaleness. A slide may reach the disk later, but a restart, however
	// abrupt, never makes a session expire early.
	UseSession(ctx context.Context, key SessionKey, now time.Time, idle time.Duration) (Session, error)
	// EndSession ends a session that has not ended yet, and returns it as it was. Of
	// several concurrent calls exactly one succeeds. The others, and calls for keys that
	// do not exist, return ErrNotFound. An expired session can be ended.
	EndSession(ctx context.Context, key SessionKey, end End) (Session, error)
	// EndUserSessions ends the user's sessions whose PasswordVersion is below version,
	// except keep, and returns how many it ended.
	EndUserSessions(ctx context.Context, user string, version int64, keep SessionKey, end End) (int, error)
}

// SessionLog is the slow side of a session store: it lists sessions, and reclaims those
// that can no longer be used.
type SessionLog interface {
	// Sessions lists newest first (by CreatedAt, then by key, descending).
	Sessions(ctx context.Context, query SessionQuery) ([]Session, error)
	// SweepSessions marks up to limit sessions as ended that have expired at now, with
	// ReasonExpired, and returns them. A session is swept at most once, and never if it
	// was used within idle before now. Before that SweepSessions corrects times in the
	// future, which a clock wrote that was ahead: a session created in the future keeps
	// what is left of its lifetime, and one that was used then is used now. UseSession
	// corrects the last use, too.
	SweepSessions(ctx context.Context, now time.Time, idle time.Duration, limit int) ([]Session, error)
	// PurgeSessions removes up to limit sessions that ended before the given time, and
	// returns how many it removed.
	PurgeSessions(ctx context.Context, before time.Time, limit int) (int, error)
}

// SessionQuery selects sessions. The zero value selects the newest 100 that have not
// ended.
type SessionQuery struct {
	User  string // only of this user
	ID    string // only the one with this public ID
	Ended bool   // include those that have ended, as long as they are kept
	// Before continues a listing: only sessions that sort after this one, by its CreatedAt
	// and Key.
	Before *Session
	Limit  int // at most so many; 0 means 100
}

// AuditStore keeps the audit trail, in order.
type AuditStore interface {
	// AppendAudit adds events, all or none. The store keeps what Event.Valid returns,
	// numbers the events in Seq, and sets their Chain to what Event.After returns for the
	// chain of the previous event.
	AppendAudit(ctx context.Context, events ...Event) error
	// AuditEvents lists by Seq, ascending.
	AuditEvents(ctx context.Context, query AuditQuery) ([]Event, error)
	// TrimAudit removes up to limit of the oldest events, up to the first that is not
	// older than before, and returns how many. If it removes any, it adds in the same step
	// the event that note returns. note may be called more than once. An event later than
	// now, written by a clock that was ahead, counts as old as the next one that is not.
	TrimAudit(ctx context.Context, before, now time.Time, limit int, note TrimNote) (int, error)
}

// TrimNote returns the event that replaces removed events, the last of which had that Seq
// and Chain.
type TrimNote func(removed int, seq int64, chain Chain) Event

// AuditQuery selects events. The zero value selects the oldest 100.
type AuditQuery struct {
	After  int64       // only events with a higher Seq
	Since  time.Time   // only events at or after this time
	Until  time.Time   // only events before this time; zero: no such end
	User   string      // only of this user
	Client string      // only of this API key, and of what operators did with it
	Kinds  []EventKind // only of these kinds; empty: all
	Last   bool        // the newest Limit of what matches, still in ascending order
	Limit  int         // at most so many; 0 means 100
}
