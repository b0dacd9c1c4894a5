package authority

import "time"

// User is a local account.
type User struct {
	Name string
	// PasswordHash is a PHC string (argon2id).
	PasswordHash string
	// PasswordVersion grows with every change of the password and whenever all
	// sessions are to end. A session carries the version that it was made
	// under.
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

// Ending says which sessions of a user are still to be ended.
type Ending struct {
	Pending bool
	Keep    SessionKey // the one session that stays; zero for none
	Reason  Reason
}

// setPassword makes hash the password, and demands that older sessions end.
func (u *User) setPassword(hash string, now time.Time, ending Ending) {
	u.Repeat = Repeat{Replaced: u.PasswordHash, Until: now.Add(repeatUnasked)}
	u.PasswordHash = hash
	u.PasswordVersion++
	u.PasswordChangedAt = now
	u.Ending = ending
}
