package ledger

import "time"

// Rules are what decisions depend on besides the record.
type Rules struct {
	Upstream    string        // the base URL
	IdleLimit   time.Duration // a session that was unused for so long is dead
	StrikePause time.Duration // how long the next login waits after a strike
	// ShortLife is how long a session must have lasted for its refusal to be its normal
	// end. If sessions are refused sooner, something else ends them, or it is not the
	// session that is refused. Each login then waits longer than the one before.
	ShortLife time.Duration
	// CanStore is set if the credential store can be written.
	CanStore bool
}

// Goal is what a keeper wants to reach.
type Goal int

// The goals.
const (
	Renew  Goal = iota // a live session
	Rotate             // a reset of the password; then Finish
	Finish             // no unfinished rotation
)

// Held is the session that a keeper has in memory.
type Held struct {
	Token   string // empty if there is none
	Refused bool
	Age     time.Duration // at least, by the system's clock
}

// Do is what an Action is.
type Do int

// The actions.
const (
	// Done: the goal is reached, or nothing more can be done for it now.
	Done Do = iota
	// UseSession: the session Token is live. It was last used at Used.
	UseSession
	// Wait: no login may be made for Left, because of Reason.
	Wait
	// Stop: no login may be made until a person acts, because of Latch.
	Stop
	// OtherAccount: a rotation of another account's password is not finished.
	OtherAccount
	// Recover: settle what the last holder of the lease has left unsettled. Nothing is
	// sent.
	Recover
	// AskUpstream for a fresh access token, because of Reason. The next login may cost a
	// strike, which is too much to spend on finding out whether the upstream still has
	// trouble.
	AskUpstream
	// LogIn as Credential.
	LogIn
	// CheckStore: save Credential, which the store holds, to see that it can be written.
	CheckStore
	// ResetPassword of Credential, once, in the session Token.
	ResetPassword
	// ReadResponse: find the new password in Response.
	ReadResponse
	// StorePassword: put Credential into the credential store.
	StorePassword
)

// Action is what to do next.
type Action struct {
	Do         Do
	Credential Credential
	Token      string
	Used       time.Time
	Response   string
	Latch      Latch
	Left       time.Duration
	Reason     string
	// OfSession is set if a Wait is because the upstream refuses sessions soon after
	// they were opened.
	OfSession bool
	// Probe is set if the login determines whether the old password is in effect, and
	// Proves if it proves the new one.
	Probe, Proves bool

	id         identity
	isNew      bool // the credential has the new password of a rotation
	isStored   bool // the store holds the credential
	contested  bool // the store holds neither the old nor the new password of a rotation
	shortLived int
}

// Verdict is what an outcome means.
type Verdict int

// The verdicts.
const (
	Accepted Verdict = iota
	Rejected         // the credential was refused; another try with it is futile
	Unclear          // it may have happened, and may have counted as a failure
	Unsent           // no service has acted on it
)

// Outcome is what became of an Action.
type Outcome struct {
	Verdict  Verdict
	Reason   string // why it failed
	Token    string // of the session that a login opened
	Password string // that ReadResponse found
	// MayBeLate is set for a refusal that a password may get which the upstream has
	// just made, because not all of its parts know it yet.
	MayBeLate bool
}

// Account is the guard of one user of one upstream. Strikes belong to the account,
// because that is what the upstream counts. A refusal belongs to the credential that was
// refused.
type Account struct {
	Key     string              `json:"key"`
	Strikes int                 `json:"strikes"` // in a row, including those that may have counted
	Since   time.Time           `json:"since"`   // when the last of them was
	Reason  string              `json:"reason,omitempty"`
	Refused []RefusedCredential `json:"refused,omitempty"`
}

// RefusedCredential is a credential that the upstream refused.
type RefusedCredential struct {
	Credential string    `json:"credential"`
	At         time.Time `json:"at"`
	Reason     string    `json:"reason"`
}

// LatchKind is why the guard is latched.
type LatchKind int

// The kinds.
const (
	Unlatched     LatchKind = iota
	TwoStrikes              // as many logins as may be spent have failed
	WrongPassword           // the credential was refused
	LostPassword            // the password was reset, and the new one is not known
	UnclearProbe            // it is not known which password is in effect
)

// Latch is the state of the guard in which no login is made.
type Latch struct {
	Kind    LatchKind
	Since   time.Time
	Reason  string
	Strikes int
}
