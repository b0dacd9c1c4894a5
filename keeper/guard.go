package keeper

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/latchkey/latchkey"
)

// strikeLimit is how many failed logins in a row a keeper spends. The vendor documents
// that five lock an account; another upstream may have another number. One is not
// enough, since an outcome that is merely unclear would then stop the keeper; the rest
// is for people.
const strikeLimit = 2

// maxRemembered bounds the accounts and the refused credentials that a record
// remembers. The oldest make room.
const maxRemembered = 16

// account is the guard of one user of one upstream. Strikes belong to the
// account, for that is what the upstream counts; a refusal belongs to the
// credential that was refused.
type account struct {
	Key     string    `json:"key"`
	Strikes int       `json:"strikes"` // in a row; those that may have been one count
	Since   time.Time `json:"since"`   // the last of them
	Reason  string    `json:"reason,omitempty"`
	Refused []refused `json:"refused,omitempty"`
}

// refused is a credential that the upstream does not want.
type refused struct {
	Credential string    `json:"credential"`
	At         time.Time `json:"at"`
	Reason     string    `json:"reason"`
}

// attempt is a login whose outcome is not recorded yet.
type attempt struct {
	Account string    `json:"account"`
	At      time.Time `json:"at"`
}

// LatchedError says that the keeper does not log in, so that the account is not
// locked. The session that it has, if any, goes on being used. In the process
// whose login led to it, it wraps the error of that login.
type LatchedError struct {
	Since   time.Time
	Reason  string // what happened then
	Strikes int    // how many failed logins in a row the upstream may have counted

	cause error
}

// Unwrap answers the error of the login, where it is known.
func (e *LatchedError) Unwrap() error { return e.cause }

func (e *LatchedError) Error() string {
	text := fmt.Sprintf("keeper: no login is made since %s: %s (at most %d failed logins in a row count toward the lock of the account). ",
		e.Since.UTC().Format(time.RFC3339), e.Reason, e.Strikes)
	if e.Strikes < strikeLimit {
		return text + "Correct the password where it is kept, and it is tried by itself. " +
			"If it is right as it is, have an operator reset the guard (latchkey guard reset)"
	}
	return text + "Find out whether the password is right and the account is not locked; " +
		"then have an operator reset the guard (latchkey guard reset)"
}

// WaitError reports why there is no token, and how long none is asked for because
// of that. It wraps the error of every login and of every request for an access
// token that failed, except *[LatchedError], which no waiting ends.
type WaitError struct {
	Err   error         // what happened
	Until time.Time     // when the next attempt may be made, by the Keeper's clock
	Wait  time.Duration // how long that was away when the error was returned

	next string
}

// Unwrap returns Err.
func (e *WaitError) Unwrap() error { return e.Err }

func (e *WaitError) Error() string {
	return fmt.Sprintf("%v; %s at %s", e.Err, e.next, e.Until.UTC().Format(time.RFC3339))
}

// account answers the guard of an account, and makes it if need be.
func (r *record) account(key string) *account {
	i := slices.IndexFunc(r.Accounts, func(a account) bool { return a.Key == key })
	if i < 0 {
		r.Accounts = append(tail(r.Accounts), account{Key: key})
		i = len(r.Accounts) - 1
	}
	return &r.Accounts[i]
}

// tail makes room for one more.
func tail[T any](list []T) []T { return list[max(0, len(list)-maxRemembered+1):] }

func (a *account) strike(at time.Time, reason string) {
	a.Strikes++
	a.Since, a.Reason = at, reason
}

// latched answers why no login may be made as id; nil if one may.
func (r *record) latched(id identity) *LatchedError {
	a := r.account(id.account)
	if latched := r.doubted(id); latched != nil {
		return latched
	}
	if c := r.refused(id); c != nil {
		return &LatchedError{Since: c.At, Reason: c.Reason, Strikes: a.Strikes}
	}
	if a.Strikes >= strikeLimit {
		return &LatchedError{Since: a.Since, Reason: a.Reason, Strikes: a.Strikes}
	}
	return nil
}

// refused answers what is known of the refusal of a credential; nil if nothing.
func (r *record) refused(id identity) *refused {
	a := r.account(id.account)
	i := slices.IndexFunc(a.Refused, func(c refused) bool { return c.Credential == id.credential })
	if i < 0 {
		return nil
	}
	return &a.Refused[i]
}

// condemn settles an attempt that nobody else will settle. Call it under the
// lease. Its outcome is unknown, so it counts as a strike; it counts once,
// because it is gone then.
func (r *record) condemn() (changed bool) {
	if r.Attempt == nil {
		return false
	}
	r.account(r.Attempt.Account).strike(r.Attempt.At,
		"a login was begun and its outcome never recorded: the program that made it has ended, or could not save")
	r.Attempt = nil
	return true
}

// settle records what became of the attempt.
func (r *record) settle(id identity, v verdict, cause error, now time.Time) {
	r.Attempt = nil
	a := r.account(id.account)
	switch v {
	case accepted:
		a.Strikes, a.Since, a.Reason = 0, time.Time{}, "" // as the upstream does
		r.accepted(id, now)
	case refusal:
		reason := "the upstream refused the credential: " + cause.Error()
		a.strike(now, reason)
		if a.Strikes < strikeLimit && r.mayBeUnknown(id, cause) {
			return
		}
		a.Refused = append(tail(a.Refused), refused{Credential: id.credential, At: now, Reason: reason})
	case unclear:
		a.strike(now, "the last login may have counted as a failure: "+cause.Error())
	case unsent:
	}
}

// verdict is what an attempt to log in means for the account.
type verdict int

const (
	accepted verdict = iota
	refusal          // another try with the same credential is futile
	unclear          // a strike may have been spent
	unsent           // no service saw the credential
)

// judge tells the verdict from the error of a login.
func judge(err error) verdict {
	var fault *latchkey.FaultError
	switch {
	case err == nil:
		return accepted
	case errors.Is(err, latchkey.ErrNotSent):
		return unsent
	case errors.Is(err, latchkey.ErrInvalidCredentials), errors.Is(err, latchkey.ErrAccountLocked),
		errors.Is(err, latchkey.ErrInvalidCharacter): // a password with such a character is never accepted
		return refusal
	case errors.Is(err, latchkey.ErrThrottled), errors.Is(err, latchkey.ErrBlocked):
		return unsent
	case errors.As(err, &fault) && fault.StatusCode < 500:
		return unsent // the gateway's: the bearer, for one. It says nothing about the password
	}
	return unclear
}
