package wire

import "time"

// The admin API: what the command line says to a running server over the socket
// in its data directory. It is never served over TCP, and both ends come from
// the same release, so it may change from one release to the next.
//
// Reads are GETs with query parameters; everything that changes something is a
// POST with a JSON body, so that names need no escaping and secrets never stand
// in a URL. An answer without a body is 204. Refusals are AdminErrorBody.
const (
	PathAdminUsers        = PathAdmin + "users"             // GET ?after=&limit= → AdminUsers
	PathAdminUser         = PathAdmin + "user"              // GET ?name= → AdminUser
	PathAdminUserAdd      = PathAdmin + "user/add"          // AdminPassword → AdminPassword
	PathAdminUserPassword = PathAdmin + "user/set-password" // AdminPassword → AdminPassword
	PathAdminUserAllow    = PathAdmin + "user/allow"        // AdminAllow
	PathAdminUserRemove   = PathAdmin + "user/remove"       // AdminName
	PathAdminUserLock     = PathAdmin + "user/lock"         // AdminName
	PathAdminUserUnlock   = PathAdmin + "user/unlock"       // AdminName
	PathAdminUserDisable  = PathAdmin + "user/disable"      // AdminName
	PathAdminUserEnable   = PathAdmin + "user/enable"       // AdminName
	PathAdminUserEnd      = PathAdmin + "user/end-sessions" // AdminName → AdminCount

	PathAdminClients      = PathAdmin + "clients"       // GET → AdminClients
	PathAdminClientAdd    = PathAdmin + "client/add"    // AdminLabel → AdminCredentials
	PathAdminClientRotate = PathAdmin + "client/rotate" // AdminKey → AdminCredentials
	PathAdminClientRevoke = PathAdmin + "client/revoke" // AdminKey

	PathAdminSessions   = PathAdmin + "sessions"    // GET ?user=&ended=true&before=&limit= → AdminSessions
	PathAdminSessionEnd = PathAdmin + "session/end" // AdminID

	PathAdminAuditVerify = PathAdmin + "audit/verify" // GET ?seq=&chain= → AdminProof

	PathAdminStore = PathAdmin + "store" // GET → AdminStore

	PathAdminAudit = PathAdmin + "audit" // GET ?after=&since=&until=&user=&client=&kind=&kind=&last=true&limit= → AdminEvents
)

// HeaderAdminStore is what a request says of the database that it is meant for: the ID
// of an AdminStore. A server with another database refuses it.
const HeaderAdminStore = "Latchkey-Store"

// AdminStore says which database a server has.
type AdminStore struct {
	// Name is for people: sqlite:PATH, postgres://HOST/DATABASE or memory, without
	// user and password.
	Name string `json:"name"`
	ID   string `json:"id"`
}

// AdminName names the user that a change is about.
type AdminName struct {
	Name string `json:"name"`
}

// AdminPassword carries a password to the server and, where the server made it,
// back. In a request an empty password asks for a generated one; in an answer
// the password is set only if it was generated.
type AdminPassword struct {
	Name     string `json:"name"`
	Password string `json:"password,omitempty"`
	// Allow is for adding a user; see AdminAllow.
	Allow []string `json:"allow,omitempty"`
}

// AdminAllow says which requests a user may send on to the upstream, by rules like
// "GET /api/m2m/v1/devices/**"; none let everything pass.
type AdminAllow struct {
	Name  string   `json:"name"`
	Allow []string `json:"allow"`
}

// AdminUser is an account as an operator sees it.
type AdminUser struct {
	Name              string    `json:"name"`
	Disabled          bool      `json:"disabled"`
	Failures          int       `json:"failures"`          // failed logins in a row
	LockedAt          time.Time `json:"lockedAt,omitzero"` // zero: not locked
	LockedByOperator  bool      `json:"lockedByOperator,omitempty"`
	PasswordChangedAt time.Time `json:"passwordChangedAt"`
	CreatedAt         time.Time `json:"createdAt"`
	Allow             []string  `json:"allow,omitempty"` // none: everything
}

// AdminUsers is one page of users by name. Next is what the next page's "after"
// has to be; it is empty on the last page.
type AdminUsers struct {
	Users []AdminUser `json:"users"`
	Next  string      `json:"next,omitempty"`
}

// AdminCount says how many things a change touched.
type AdminCount struct {
	Count int `json:"count"`
}

// AdminLabel is what the operator calls a new API client.
type AdminLabel struct {
	Label string `json:"label"`
}

// AdminKey names an API client by its key.
type AdminKey struct {
	Key string `json:"key"`
}

// AdminCredentials are an API key and its secret, told this once.
type AdminCredentials struct {
	Key    string `json:"key"`
	Secret string `json:"secret"`
}

// AdminClient is an API client as an operator sees it.
type AdminClient struct {
	Key       string    `json:"key"`
	Label     string    `json:"label"`
	Revoked   bool      `json:"revoked"`
	CreatedAt time.Time `json:"createdAt"`
	// TokenIssuedAt is when the client's access token was first issued; zero
	// where it never had one or the token was revoked.
	TokenIssuedAt time.Time `json:"tokenIssuedAt,omitzero"`
}

// AdminClients lists the API clients by key.
type AdminClients struct {
	Clients []AdminClient `json:"clients"`
}

// AdminID names a session by its public ID.
type AdminID struct {
	ID string `json:"id"`
}

// AdminSession is a session as an operator sees it. It never holds the token.
type AdminSession struct {
	ID         string    `json:"id"`
	User       string    `json:"user"`
	Client     string    `json:"client"`
	Address    string    `json:"address,omitempty"`
	CreatedAt  time.Time `json:"createdAt"`
	LastUsedAt time.Time `json:"lastUsedAt"`
	IdleAfter  time.Time `json:"idleAfter"`          // when it dies unless it is used
	ExpiresAt  time.Time `json:"expiresAt,omitzero"` // absolute end, if there is one
	EndedAt    time.Time `json:"endedAt,omitzero"`   // zero: it lives
	EndReason  string    `json:"endReason,omitempty"`
	EndedBy    string    `json:"endedBy,omitempty"`
}

// AdminSessions is one page of sessions, newest first. Next is what the next
// page's "before" has to be; it is empty on the last page.
type AdminSessions struct {
	Sessions []AdminSession `json:"sessions"`
	Next     string         `json:"next,omitempty"`
}

// AdminEvent is one line of the audit trail.
type AdminEvent struct {
	Seq       int64     `json:"seq"`
	At        time.Time `json:"at"`
	Kind      string    `json:"kind"`
	User      string    `json:"user,omitempty"`
	Session   string    `json:"session,omitempty"`
	Client    string    `json:"client,omitempty"`
	Address   string    `json:"address,omitempty"`
	RequestID string    `json:"requestId,omitempty"`
	// These are of requests to the upstream. The path is escaped, has no query, and
	// ends in "…" if it was cut.
	Method            string  `json:"method,omitempty"`
	Host              string  `json:"host,omitempty"` // if it is not the main one
	Path              string  `json:"path,omitempty"`
	Status            int     `json:"status,omitempty"`
	DurationMS        float64 `json:"durationMs,omitempty"`
	UpstreamRequestID string  `json:"upstreamRequestId,omitempty"`
	// Count is how many refusals were folded into this event; absent: it is one.
	Count  int    `json:"count,omitempty"`
	Detail string `json:"detail,omitempty"`
}

// AdminEvents is a stretch of the audit trail, oldest first. The next stretch
// comes after the Seq of its last event.
type AdminEvents struct {
	Events []AdminEvent `json:"events"`
}

// AdminProof says whether the audit trail is what was written.
type AdminProof struct {
	Events    int    `json:"events"`
	Unchained int    `json:"unchained,omitempty"` // from before there was a chain
	First     int64  `json:"first"`
	Last      int64  `json:"last"`
	Head      string `json:"head"`
	Broken    int64  `json:"broken,omitempty"` // the first event that is not as it was written
	Problem   string `json:"problem,omitempty"`
	// Unproven: no seal proves that what stood before First was trimmed.
	Unproven bool `json:"unproven,omitempty"`
	// HeadTrimmed: the event of the head was trimmed, and a seal proves it.
	HeadTrimmed bool `json:"headTrimmed,omitempty"`
}

// The codes of AdminError.
const (
	AdminNotFound    = "not_found"
	AdminExists      = "exists"
	AdminInvalid     = "invalid"
	AdminOtherStore  = "other_store"
	AdminOverloaded  = "overloaded"
	AdminUnavailable = "unavailable"
)

// AdminError is what the admin API refuses with. The code is stable, the message
// is for people and may change.
type AdminError struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// Error implements error.
func (e *AdminError) Error() string { return e.Message }

// AdminErrorBody wraps an AdminError as it travels.
type AdminErrorBody struct {
	Error AdminError `json:"error"`
}
