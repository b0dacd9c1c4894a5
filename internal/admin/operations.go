package admin

import (
	"context"
	"net/url"
	"strconv"
	"time"
)

// Store returns which database the server has.
func (c *Client) Store(ctx context.Context) (store Store, err error) {
	return store, c.Get(ctx, PathStore, nil, &store)
}

// Users returns the page of users whose names are after the given one, with at most limit
// users. A limit of 0 is the server's default.
func (c *Client) Users(ctx context.Context, after string, limit int) (page Users, err error) {
	return page, c.Get(ctx, PathUsers, listing(url.Values{}, "after", after, limit), &page)
}

// User returns a user.
func (c *Client) User(ctx context.Context, name string) (user User, err error) {
	return user, c.Get(ctx, PathUser, url.Values{"name": {name}}, &user)
}

// AddUser adds a user. If the request has no password, the result has a generated one.
func (c *Client) AddUser(ctx context.Context, user Password) (made Password, err error) {
	return made, c.Post(ctx, PathUserAdd, user, &made)
}

// SetPassword gives a user another password and ends the user's sessions. If the request
// has no password, the result has a generated one.
func (c *Client) SetPassword(ctx context.Context, user Password) (made Password, err error) {
	return made, c.Post(ctx, PathUserPassword, user, &made)
}

// SetAllow replaces the rules that limit which requests of a user are forwarded to the
// upstream. Without rules, every request is.
func (c *Client) SetAllow(ctx context.Context, name string, rules []string) error {
	return c.Post(ctx, PathUserAllow, Allow{Name: name, Allow: rules}, nil)
}

// RemoveUser ends a user's sessions and removes the user.
func (c *Client) RemoveUser(ctx context.Context, name string) error {
	return c.Post(ctx, PathUserRemove, Name{name}, nil)
}

// LockUser refuses a user's logins until UnlockUser. Live sessions continue.
func (c *Client) LockUser(ctx context.Context, name string) error {
	return c.Post(ctx, PathUserLock, Name{name}, nil)
}

// UnlockUser lifts a user's lock and clears the strikes.
func (c *Client) UnlockUser(ctx context.Context, name string) error {
	return c.Post(ctx, PathUserUnlock, Name{name}, nil)
}

// DisableUser ends a user's sessions and refuses logins until EnableUser.
func (c *Client) DisableUser(ctx context.Context, name string) error {
	return c.Post(ctx, PathUserDisable, Name{name}, nil)
}

// EnableUser lets a disabled user log in again.
func (c *Client) EnableUser(ctx context.Context, name string) error {
	return c.Post(ctx, PathUserEnable, Name{name}, nil)
}

// EndUserSessions ends all sessions of a user and returns how many there were.
func (c *Client) EndUserSessions(ctx context.Context, name string) (int, error) {
	var ended Count
	err := c.Post(ctx, PathUserEnd, Name{name}, &ended)
	return ended.Count, err
}

// APIClients returns all API clients, the revoked ones included.
func (c *Client) APIClients(ctx context.Context) ([]APIClient, error) {
	var list APIClients
	err := c.Get(ctx, PathClients, nil, &list)
	return list.Clients, err
}

// AddAPIClient adds an API client and returns its key and its secret.
func (c *Client) AddAPIClient(ctx context.Context, label string) (made Credentials, err error) {
	return made, c.Post(ctx, PathClientAdd, Label{label}, &made)
}

// RotateAPIClient ends an API client's secret and access token, and returns a new secret.
func (c *Client) RotateAPIClient(ctx context.Context, key string) (made Credentials, err error) {
	return made, c.Post(ctx, PathClientRotate, Key{key}, &made)
}

// RevokeAPIClient ends an API client for good. Its sessions continue.
func (c *Client) RevokeAPIClient(ctx context.Context, key string) error {
	return c.Post(ctx, PathClientRevoke, Key{key}, nil)
}

// SessionQuery selects sessions.
type SessionQuery struct {
	User   string // "": of all users
	Ended  bool   // include sessions that have ended
	Before string // only sessions listed after the one with this ID; "": from the start
	Limit  int    // 0: the server's default
}

// Sessions returns a page of sessions, newest first.
func (c *Client) Sessions(ctx context.Context, q SessionQuery) (page Sessions, err error) {
	values := url.Values{}
	if q.User != "" {
		values.Set("user", q.User)
	}
	if q.Ended {
		values.Set("ended", "true")
	}
	return page, c.Get(ctx, PathSessions, listing(values, "before", q.Before, q.Limit), &page)
}

// EndSession ends the session with this public ID.
func (c *Client) EndSession(ctx context.Context, id string) error {
	return c.Post(ctx, PathSessionEnd, ID{id}, nil)
}

// EventQuery selects events of the audit trail.
type EventQuery struct {
	User, Client string   // "": any
	Kinds        []string // none: all
	Since, Until time.Time
	After        int64 // only events after the one with this number
	Limit        int   // 0: the server's default
	Last         bool  // the newest events rather than the oldest
}

// Events returns events of the audit trail, oldest first.
func (c *Client) Events(ctx context.Context, q EventQuery) ([]Event, error) {
	values := url.Values{}
	for name, value := range map[string]string{"user": q.User, "client": q.Client} {
		if value != "" {
			values.Set(name, value)
		}
	}
	if len(q.Kinds) > 0 {
		values["kind"] = q.Kinds
	}
	for name, at := range map[string]time.Time{"since": q.Since, "until": q.Until} {
		if !at.IsZero() {
			values.Set(name, at.UTC().Format(time.RFC3339Nano))
		}
	}
	if q.Last {
		values.Set("last", "true")
	}
	after := ""
	if q.After != 0 {
		after = strconv.FormatInt(q.After, 10)
	}
	var page Events
	err := c.Get(ctx, PathAudit, listing(values, "after", after, q.Limit), &page)
	return page.Events, err
}

// VerifyAudit checks the audit trail. If seq is not 0, it also checks that the trail still
// contains the event seq with the head chain of an earlier Proof.
func (c *Client) VerifyAudit(ctx context.Context, seq int64, chain string) (proof Proof, err error) {
	values := url.Values{}
	if seq != 0 {
		values = url.Values{"seq": {strconv.FormatInt(seq, 10)}, "chain": {chain}}
	}
	return proof, c.Get(ctx, PathAuditVerify, values, &proof)
}

// listing adds the bounds of a page to a query.
func listing(values url.Values, name, at string, limit int) url.Values {
	if at != "" {
		values.Set(name, at)
	}
	if limit > 0 {
		values.Set("limit", strconv.Itoa(limit))
	}
	return values
}
