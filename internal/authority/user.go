package authority

import "time"

// User is a local account.
type User struct {
	Name string
	// PasswordHash is a PHC string (argon2id).
	PasswordHash string
	// PasswordVersion grows with every change of the password and whenever all
	// sessions are to end. A session carries the version that it was made
	// under. The upper half is the incarnation, which no two users of a store share:
	// a user who is removed and added again is somebody else. It grows, so a newer
	// user of a name has the higher versions.
	PasswordVersion   int64
	PasswordChangedAt time.Time
	Disabled          bool
	CreatedAt         time.Time
	// Ending is set while sessions older than PasswordVersion are still to be
	// ended. It is written in the same step as the change that demands it, so
	// that a crash between the two cannot leave them alive.
	Ending Ending
	// Repeat says what becomes of resets with the password that the last change
	// replaced.
	Repeat Repeat
	// Allow says which requests to the upstream the user may make, one rule to a
	// line; see SetAllow. Empty: all.
	Allow string
}

// versionBits is how many bits of a PasswordVersion count the changes.
const versionBits = 32

// WithIncarnation returns the user as the n-th of a store.
func (u User) WithIncarnation(n int64) User {
	u.PasswordVersion = n<<versionBits | u.PasswordVersion&(1<<versionBits-1)
	return u
}

// owns reports whether a session is of this user, and not of another one who had the
// name before.
func (u User) owns(session Session) bool {
	return session.User == u.Name && session.PasswordVersion>>versionBits == u.PasswordVersion>>versionBits
}

// Ending says which sessions of a user are still to be ended.
type Ending struct {
	Pending bool
	Version int64      // sessions older than this password version end; 0: than that of the user
	Keep    SessionKey // the one session that stays; zero for none
	Reason  Reason
}

// setPassword makes hash the password.
func (u *User) setPassword(hash string, now time.Time) {
	u.Repeat = Repeat{Replaced: u.PasswordHash, Until: now.Add(repeatUnasked)}
	u.PasswordHash = hash
	if u.Ending.Pending && u.Ending.Version == 0 {
		u.Ending.Version = u.PasswordVersion // those of the change that demanded it, and no newer ones
	}
	u.PasswordVersion++
	u.PasswordChangedAt = now
}

// endSessions demands that the sessions older than the user's password version end,
// except keep, which may be nil. What was demanded before, and has not happened yet,
// still holds: a session that was to end then is not kept.
func (u *User) endSessions(keep *Session, reason Reason) {
	ending := Ending{Pending: true, Version: u.PasswordVersion, Reason: reason}
	if keep != nil && (!u.Ending.Pending || keep.Key == u.Ending.Keep || keep.PasswordVersion >= u.Ending.Version) {
		ending.Keep = keep.Key
	}
	u.Ending = ending
}
