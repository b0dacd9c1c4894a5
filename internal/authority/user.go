package authority

import "time"

// User is a local account.
type User struct {
	Name string
	// PasswordHash is a PHC string (argon2id).
	PasswordHash string
	// PasswordVersion grows with every change of the password, and whenever all sessions
	// are to end. A session carries the version that it was made under. The upper half is
	// the generation, which no two users of a store share: a user who is removed and added
	// again is another user. It grows, so that a newer user of a name has the higher
	// versions.
	PasswordVersion   int64
	PasswordChangedAt time.Time
	Disabled          bool
	CreatedAt         time.Time
	// PendingEnd is which sessions are still to be ended. It is written in the same step
	// as the change that requires it, so that a crash cannot leave the sessions alive.
	PendingEnd PendingEnd
	// LastReset decides about resets with the password that the last change replaced.
	LastReset IdempotentReset
	// Allow lists the requests to the upstream that the user may make, one rule to a line; see
	// SetAllow. Empty: all.
	Allow string
}

// versionBits is how many bits of a PasswordVersion count the changes.
const versionBits = 32

// WithGeneration returns the user as the n-th of a store.
func (u User) WithGeneration(n int64) User {
	u.PasswordVersion = n<<versionBits | u.PasswordVersion&(1<<versionBits-1)
	return u
}

// owns reports whether a session belongs to this user, and not to an earlier one of the
// same name.
func (u User) owns(session Session) bool {
	return session.User == u.Name && session.PasswordVersion>>versionBits == u.PasswordVersion>>versionBits
}

// PendingEnd is which sessions of a user are still to be ended. The zero value: none.
type PendingEnd struct {
	Version int64      // sessions older than this password version end
	Keep    SessionKey // the one session that stays; zero: none
	Reason  Reason
}

// setPassword makes hash the password.
func (u *User) setPassword(hash string, now time.Time) {
	u.LastReset = IdempotentReset{Replaced: u.PasswordHash, Until: now.Add(resendWindow)}
	u.PasswordHash = hash
	u.PasswordVersion++
	u.PasswordChangedAt = now
}

// endSessions requires that the sessions older than the user's password version end,
// except keep, which may be nil. An earlier requirement that is still pending holds on: a
// session that was to end then is not kept.
func (u *User) endSessions(keep *Session, reason Reason) {
	end := PendingEnd{Version: u.PasswordVersion, Reason: reason}
	earlier := u.PendingEnd
	if keep != nil && (earlier == PendingEnd{} || keep.Key == earlier.Keep || keep.PasswordVersion >= earlier.Version) {
		end.Keep = keep.Key
	}
	u.PendingEnd = end
}
