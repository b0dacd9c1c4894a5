// Package authority holds the rules of latchkey: who may log in, what a wrong password
// costs, how long a session lives, what a reset ends, and what is recorded about it. It
// knows no HTTP, no SQL and no wall clock: it receives stores (stores.go says what each must
// promise) and a clock.
//
// The rules, in short, and where they come from:
//
//   - A session expires after 20 minutes without use, and slides on use (the vendor's
//     documentation). An absolute lifetime is an option (OWASP Session Management Cheat
//     Sheet), off by default.
//   - The fifth consecutive failed login locks the account until an operator unlocks it (the
//     vendor's documentation). However many guesses arrive at once, at most five wrong
//     passwords are ever evaluated, and concurrent correct logins never cause one another
//     to be refused.
//   - Unknown user names get the same responses, take the same time and lock the same.
//   - An access token lives one hour from first issue; another request for a token returns
//     the same one (the vendor's documentation).
//   - A reset makes a random password effective in one step and ends every other session of
//     the user.
//   - An error of a store means ErrUnavailable: never "allowed", never "expired".
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

// Policy holds the rules that an operator may set. The zero value of a field means its
// default.
type Policy struct {
	IdleTimeout         time.Duration // a session unused for so long has expired; default 20 minutes
	Lifetime            time.Duration // a session older than this has expired, used or not; default none
	LockAfter           int           // the consecutive failed login that locks; default 5
	UnlockAfter         time.Duration // a lock is lifted after so long; default never
	AccessTokenLifetime time.Duration // from first issue; default one hour
	KeepSessionsOnReset bool          // a password reset leaves the user's other sessions alive
	EndSessionsOnLogin  bool          // a login ends the user's other sessions
	StrikeOnAbort       bool          // a login whose caller leaves before the result is a strike
	RefuseWeakPasswords bool          // an operator cannot set a short or common password
	KeepEnded           time.Duration // ended sessions are listed for so long; default 30 days
	KeepAudit           time.Duration // audit events are kept for so long; default forever
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

// Config configures an Authority.
type Config struct {
	Stores Stores
	// Key derives access tokens: at least 32 random bytes, kept secret, the same
	// in every replica and over restarts.
	Key       []byte
	Policy    Policy
	Hash      HashParams // zero: DefaultHashParams
	HashSlots int        // passwords hashed at once; 0: one fewer than cores, at least 1
	HashQueue int        // logins of one API client that wait for a slot; 0: 64 for each slot
	// Sum computes p.Sum, in another process for example; nil: here.
	Sum func(p HashParams, password, salt []byte, size uint32) []byte
	Now func() time.Time // nil: time.Now
	Log *slog.Logger     // nil: slog.Default()
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
	admission      *admission
	sum            func(p HashParams, password, salt []byte, size uint32) []byte
	decoys         decoys
	tokens         *tokenDeriver
	lock           lockRule
	sole           sync.Mutex // held while a login ends the other sessions; see Policy.EndSessionsOnLogin
	now            func() time.Time
	log            *slog.Logger
	auditFailures  atomic.Int64
	settledStrikes atomic.Int64
	unknownStrikes int
	refused        refusals
	allow          allowCache
	allowed        atomic.Int64 // rules that were read
}

// New returns an Authority, or an error that lists every fault of the configuration.
func New(config Config) (*Authority, error) {
	if config.Hash == (HashParams{}) {
		config.Hash = DefaultHashParams
	}
	a := &Authority{
		stores: config.Stores,
		key:    bytes.Clone(config.Key),
		policy: config.Policy.withDefaults(),
		params: config.Hash,
		sum:    config.Sum,
		tokens: &tokenDeriver{key: bytes.Clone(config.Key)},
		now:    config.Now,
		log:    config.Log,
	}
	a.admission = newAdmission(config.HashSlots, config.HashQueue)
	if a.sum == nil {
		a.sum = HashParams.Sum
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

// Policy returns the rules, with defaults filled in.
func (a *Authority) Policy() Policy { return a.policy }

// Now returns the time by the Authority's clock.
func (a *Authority) Now() time.Time { return a.now() }

// Load is the number of logins in progress.
type Load struct {
	Hashing int // passwords that are being hashed
	Waiting int // attempts in the queue of a hash slot or of a user name
	// Attempts that were refused since the start because too many of their API client waited,
	// in all or with the same user name.
	RefusedClient, RefusedName int64
}

// Load returns the number of logins in progress.
func (a *Authority) Load() Load { return a.admission.load() }

// unavailable wraps an error of a store in ErrUnavailable. It returns nil for nil.
func unavailable(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}
