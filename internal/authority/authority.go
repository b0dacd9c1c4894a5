// Package authority holds the rules of latchkey: who may log in, what a wrong
// password costs, how long a session lives, what a reset ends, and what is
// written down about it. It knows no HTTP, no SQL and no wall clock: it is
// handed stores (stores.go says what each must promise) and a clock.
//
// The rules, in short, and where they come from:
//
//   - A session dies after 20 minutes without use, and slides on use (the
//     vendor's documentation). An absolute lifetime is an option (OWASP Session
//     Management Cheat Sheet), off by default.
//   - The fifth failed login in a row locks the account until an operator
//     unlocks it (the vendor's documentation). However many guesses arrive at
//     once, at most five wrong passwords are ever evaluated, and right passwords
//     that arrive together are not refused because of each other.
//   - Unknown user names answer the same, take the same time and lock the same.
//   - An access token lives one hour from first issue; asking again returns the
//     same one (the vendor's documentation).
//   - A reset makes a random password effective in one step and ends every other
//     session of the user.
//   - A store that cannot answer means ErrUnavailable: never "allowed", never
//     "expired".
//
// An Authority is safe for concurrent use.
package authority

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Policy are the rules that an operator may set. The zero value of a field
// means its default.
type Policy struct {
	IdleTimeout         time.Duration // a session unused for so long is over; default 20 minutes
	Lifetime            time.Duration // a session older than this is over, used or not; default none
	LockAfter           int           // the failed login in a row that locks; default 5
	UnlockAfter         time.Duration // a lock lifts by itself after so long; default never
	AccessTokenLifetime time.Duration // from first issue; default one hour
	KeepSessionsOnReset bool          // a password reset leaves the user's other sessions alive
	EndSessionsOnLogin  bool          // a login ends the user's other sessions
	StrikeOnAbort       bool          // a login whose caller leaves before its password was judged is a strike
	RefuseWeakPasswords bool          // an operator may not set a short or common password; generated and known ones always hold
	KeepEnded           time.Duration // ended sessions stay listed for so long; default 30 days
	KeepAudit           time.Duration // events of the audit trail are kept for so long; default for ever
}

func (p Policy) withDefaults() Policy {
	setDefault(&p.IdleTimeout, 20*time.Minute)
	setDefault(&p.LockAfter, 5)
	setDefault(&p.AccessTokenLifetime, time.Hour)
	setDefault(&p.KeepEnded, 30*24*time.Hour)
	return p
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func (p Policy) check() error {
	var faults []error
	if p.IdleTimeout < time.Second {
		faults = append(faults, fmt.Errorf("an idle timeout of %v is below one second", p.IdleTimeout))
	}
	if p.Lifetime < 0 || p.UnlockAfter < 0 || p.KeepEnded < 0 || p.KeepAudit < 0 {
		faults = append(faults, errors.New("a lifetime, an unlock time or a retention is negative"))
	}
	if p.LockAfter < 1 || p.LockAfter > 1000 {
		faults = append(faults, fmt.Errorf("locking after %d failed logins is not between 1 and 1000", p.LockAfter))
	}
	if p.AccessTokenLifetime < time.Second {
		faults = append(faults, fmt.Errorf("an access token lifetime of %v is below one second", p.AccessTokenLifetime))
	}
	return errors.Join(faults...)
}

// Config is what an Authority is made of.
type Config struct {
	Stores Stores
	// Key derives access tokens: at least 32 random bytes, kept secret, the same
	// in every replica and over restarts.
	Key       []byte
	Policy    Policy
	Hash      HashParams       // zero: DefaultHashParams
	HashSlots int              // passwords hashed at once; 0: one fewer than cores, at least 1
	HashQueue int              // logins that wait for a slot; 0: 64 for each slot
	Now       func() time.Time // nil: time.Now
	Log       *slog.Logger     // nil: slog.Default()
	// UnknownStrikes is how many strikes of names that no user has are kept unfolded; 0:
	// 100,000.
	UnknownStrikes int
}

// Authority applies the rules.
type Authority struct {
	stores         Stores
	key            []byte
	policy         Policy
	params         HashParams
	slots          *hashSlots
	decoys         decoys
	tokens         *tokenDeriver
	lock           lockRule
	logins         loginQueue
	sole           sync.Mutex // held while a login makes its session the only one; see Policy.EndSessionsOnLogin
	now            func() time.Time
	log            *slog.Logger
	auditFailures  atomic.Int64
	settledStrikes atomic.Int64
	unknownStrikes int
	refused        refusals
	allow          allowCache
	allowed        atomic.Int64 // rules that were read
}

// New returns an Authority, or an error that lists everything that is wrong with
// the configuration.
func New(config Config) (*Authority, error) {
	if config.Hash == (HashParams{}) {
		config.Hash = DefaultHashParams
	}
	a := &Authority{
		stores: config.Stores,
		key:    bytes.Clone(config.Key),
		policy: config.Policy.withDefaults(),
		params: config.Hash,
		slots:  newHashSlots(config.HashSlots, config.HashQueue),
		tokens: &tokenDeriver{key: bytes.Clone(config.Key)},
		now:    config.Now,
		log:    config.Log,
	}
	if a.now == nil {
		a.now = time.Now
	}
	if a.log == nil {
		a.log = slog.Default()
	}
	faults := []error{a.policy.check(), a.params.check()}
	if len(config.Key) < 32 {
		faults = append(faults, errors.New("the server key is shorter than 32 bytes"))
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	a.decoys.key = a.key
	a.lock = lockRule{max: a.policy.LockAfter, unlockAfter: a.policy.UnlockAfter}
	a.unknownStrikes = config.UnknownStrikes
	setDefault(&a.unknownStrikes, maxUnknownStrikes)
	return a, nil
}

// Policy returns the rules in force, defaults filled in.
func (a *Authority) Policy() Policy { return a.policy }

// Now returns the time by the Authority's clock.
func (a *Authority) Now() time.Time { return a.now() }

// Load is how busy an Authority is with passwords.
type Load struct {
	Hashing int // passwords that are being hashed
	Waiting int // attempts that wait for a hash slot, or for their turn on a user name
}

// Load returns how busy the Authority is at this moment.
func (a *Authority) Load() Load {
	hashing := len(a.slots.running)
	return Load{Hashing: hashing, Waiting: max(0, len(a.slots.queued)-hashing) + a.logins.len()}
}

// unavailable marks an error of a store as "cannot tell". It keeps nil.
func unavailable(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}
