// Package admin is the administration API: its messages, its handler and its client.
//
// The API is served over the socket in a server's data directory and never over TCP,
// because every caller that reaches it may do everything. Both ends are of the same
// release, so it may change from one release to the next. A client also works in
// process, without a socket, on a handler of its own: see NewInProcessClient.
//
// Reads are GETs with query parameters. Everything that changes something is a POST with
// a JSON body, so that names need no escaping and no secret is part of a URL. A response
// without a body has the status 204. An error has an ErrorBody.
package admin

import (
	"time"

	"github.com/latchkey/latchkey/internal/wire"
)

// The paths, with the messages of each. Client has a method for each of them.
const (
	PathUsers        = wire.PathAdmin + "users"             // GET ?after=&limit= → Users
	PathUser         = wire.PathAdmin + "user"              // GET ?name= → User
	PathUserAdd      = wire.PathAdmin + "user/add"          // Password → Password
	PathUserPassword = wire.PathAdmin + "user/set-password" // Password → Password
	PathUserAllow    = wire.PathAdmin + "user/allow"        // Allow
	PathUserRemove   = wire.PathAdmin + "user/remove"       // Name
	PathUserLock     = wire.PathAdmin + "user/lock"         // Name
	PathUserUnlock   = wire.PathAdmin + "user/unlock"       // Name
	PathUserDisable  = wire.PathAdmin + "user/disable"      // Name
	PathUserEnable   = wire.PathAdmin + "user/enable"       // Name
	PathUserEnd      = wire.PathAdmin + "user/end-sessions" // Name → Count

	PathClients      = wire.PathAdmin + "clients"       // GET → APIClients
	PathClientAdd    = wire.PathAdmin + "client/add"    // Label → Credentials
	PathClientRotate = wire.PathAdmin + "client/rotate" // Key → Credentials
	PathClientRevoke = wire.PathAdmin + "client/revoke" // Key

	PathSessions   = wire.PathAdmin + "sessions"    // GET ?user=&ended=true&before=&limit= → Sessions
	PathSessionEnd = wire.PathAdmin + "session/end" // ID

	// GET ?after=&since=&until=&user=&client=&kind=&kind=&last=true&limit= → Events
	PathAudit       = wire.PathAdmin + "audit"
	PathAuditVerify = wire.PathAdmin + "audit/verify" // GET ?seq=&chain= → Proof

	PathStore = wire.PathAdmin + "store" // GET → Store
)

// MaxPage is the largest number of entries in one page of a listing.
const MaxPage = 1000

// HeaderStore is the request header with the ID of the Store that a request is meant
// for. A server with another database refuses the request.
const HeaderStore = "Latchkey-Store"

// Store identifies the database of a server.
type Store struct {
	// Name is for people: sqlite:PATH, postgres://HOST/DATABASE or memory, without
	// user and password.
	Name string `json:"name"`
	ID   string `json:"id"`
}

// Name is the name of the user that a change is about.
type Name struct {
	Name string `json:"name"`
}

// Password is a user's new password. In a request, an empty password means that the
// server generates one. In a response, the password is set only if it was generated.
type Password struct {
	Name     string `json:"name"`
	Password string `json:"password,omitempty"`
	// Allow is for adding a user; see Allow.
	Allow []string `json:"allow,omitempty"`
}

// Allow limits which requests of a user are forwarded to the upstream, by rules such as
// "GET /api/m2m/v1/devices/**". No rules allow every request.
type Allow struct {
	Name  string   `json:"name"`
	Allow []string `json:"allow"`
}

// User is an account as an operator sees it.
type User struct {
	Name              string    `json:"name"`
	Disabled          bool      `json:"disabled"`
	Failures          int       `json:"failures"`          // consecutive failed logins
	LockedAt          time.Time `json:"lockedAt,omitzero"` // zero: not locked
	LockedByOperator  bool      `json:"lockedByOperator,omitempty"`
	PasswordChangedAt time.Time `json:"passwordChangedAt"`
	CreatedAt         time.Time `json:"createdAt"`
	Allow             []string  `json:"allow,omitempty"` // none: every request
}

// Users is one page of users by name. Next is the "after" of the next page; it is empty
// on the last page.
type Users struct {
	Users []User `json:"users"`
	Next  string `json:"next,omitempty"`
}

// Count is how many things a change affected.
type Count struct {
	Count int `json:"count"`
}

// Label is what the operator calls a new API client.
type Label struct {
	Label string `json:"label"`
}

// Key is the API key of the client that a change is about.
type Key struct {
	Key string `json:"key"`
}

// Credentials are an API key and its secret. The secret is returned only once.
type Credentials struct {
	Key    string `json:"key"`
	Secret string `json:"secret"`
}

// APIClient is an API client as an operator sees it.
type APIClient struct {
	Key       string    `json:"key"`
	Label     string    `json:"label"`
	Revoked   bool      `json:"revoked"`
	CreatedAt time.Time `json:"createdAt"`
	// TokenIssuedAt is when the client's access token was first issued. It is zero if
	// the client never had one, or if the token was revoked.
	TokenIssuedAt time.Time `json:"tokenIssuedAt,omitzero"`
}

// APIClients lists the API clients by key.
type APIClients struct {
	Clients []APIClient `json:"clients"`
}

// ID is the public ID of a session.
type ID struct {
	ID string `json:"id"`
}

// Session is a session as an operator sees it. It never contains the token.
type Session struct {
	ID         string    `json:"id"`
	User       string    `json:"user"`
	Client     string    `json:"client"`
	Address    string    `json:"address,omitempty"`
	CreatedAt  time.Time `json:"createdAt"`
	LastUsedAt time.Time `json:"lastUsedAt"`
	IdleAfter  time.Time `json:"idleAfter"`          // when it expires unless it is used
	ExpiresAt  time.Time `json:"expiresAt,omitzero"` // absolute end; zero: none
	EndedAt    time.Time `json:"endedAt,omitzero"`   // zero: it is live
	EndReason  string    `json:"endReason,omitempty"`
	EndedBy    string    `json:"endedBy,omitempty"`
}

// Sessions is one page of sessions, newest first. Next is the "before" of the next page;
// it is empty on the last page.
type Sessions struct {
	Sessions []Session `json:"sessions"`
	Next     string    `json:"next,omitempty"`
}

// Event is one event of the audit trail.
type Event struct {
	Seq       int64     `json:"seq"`
	At        time.Time `json:"at"`
	Kind      string    `json:"kind"`
	User      string    `json:"user,omitempty"`
	Session   string    `json:"session,omitempty"`
	Client    string    `json:"client,omitempty"`
	Address   string    `json:"address,omitempty"`
	RequestID string    `json:"requestId,omitempty"`
	// Method, Host, Path, Status, DurationMS and UpstreamRequestID are set for requests
	// to the upstream. The path is escaped, has no query, and ends in "…" if it was cut.
	Method            string  `json:"method,omitempty"`
	Host              string  `json:"host,omitempty"` // a further host of the upstream
	Path              string  `json:"path,omitempty"`
	Status            int     `json:"status,omitempty"`
	DurationMS        float64 `json:"durationMs,omitempty"`
	UpstreamRequestID string  `json:"upstreamRequestId,omitempty"`
	// Count is how many failures this event represents. Absent: one.
	Count  int    `json:"count,omitempty"`
	Detail string `json:"detail,omitempty"`
}

// Events is a part of the audit trail, oldest first. The next part is after the Seq of
// its last event.
type Events struct {
	Events []Event `json:"events"`
}

// Proof is the result of a check that the audit trail is as it was written.
type Proof struct {
	Events  int    `json:"events"`
	First   int64  `json:"first"`
	Last    int64  `json:"last"`
	Head    string `json:"head"`
	Broken  int64  `json:"broken,omitempty"` // the first event that is not as it was written
	Problem string `json:"problem,omitempty"`
	// Unproven means that no seal proves that the events before First were trimmed.
	Unproven bool `json:"unproven,omitempty"`
	// HeadTrimmed means that the event of the head was trimmed, which a seal proves.
	HeadTrimmed bool `json:"headTrimmed,omitempty"`
}

// The codes of an Error.
const (
	CodeNotFound    = "not_found"
	CodeExists      = "exists"
	CodeInvalid     = "invalid"
	CodeOtherStore  = "other_store"
	CodeUnavailable = "unavailable"
)

// Error is an error that the handler reports. The code is stable. The message is for
// people and may change.
type Error struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// Error implements error.
func (e *Error) Error() string { return e.Message }

// ErrorBody is the body of a response that reports an Error.
type ErrorBody struct {
	Error Error `json:"error"`
}
