package wire

// The JSON bodies of the session operations. Passwords and tokens are plain
// strings here, because they are sent as such. They exist only while a body is
// encoded or decoded, and are never printed.

// LogInRequest is the body of a login.
type LogInRequest struct {
	Username string `json:"username"`
	Password string `json:"password"`
}

// LogInResult is the body of the response to a login.
type LogInResult struct {
	SessionToken string `json:"sessionToken"`
}

// LogOutRequest is the body of the response to a logout, under the name that the vendor gave it.
type LogOutRequest struct {
	SessionToken string `json:"sessionToken"`
}

// ResetPasswordRequest is the body of a password reset.
type ResetPasswordRequest struct {
	OldPassword string `json:"oldPassword"`
}

// ResetPasswordResult is the body of the response to a password reset.
type ResetPasswordResult struct {
	NewPassword string `json:"newPassword"`
}

// AccessToken is the body of the response to a token request (RFC 6749, section 5.1).
type AccessToken struct {
	AccessToken string `json:"access_token"`
	TokenType   string `json:"token_type"`
	ExpiresIn   int64  `json:"expires_in"` // whole seconds left, counted from first issue
	Scope       string `json:"scope,omitempty"`
}

// Session is the body of the response at PathSession: the session of the caller.
// It never holds the token.
type Session struct {
	ID        string `json:"id"`
	User      string `json:"user"`
	Client    string `json:"client"`
	CreatedAt string `json:"createdAt"` // RFC 3339, UTC
	IdleAfter string `json:"idleAfter"` // when the session expires if it is not used
	ExpiresAt string `json:"expiresAt,omitempty"`
}
