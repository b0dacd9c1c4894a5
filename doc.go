// Package latchkey is a client of the ThingSpace Connectivity Management session
// API: log in, log out, and change the password. It is an independent project
// and speaks to any service with that API, the vendor's or `latchkey serve`.
//
// The common task, log in and log out again:
//
//	client, err := latchkey.NewClient(latchkey.Config{
//		APIKey:    "…",
//		APISecret: latchkey.Secret(os.Getenv("API_SECRET")),
//	})
//	if err != nil { … }
//	session, err := client.LogIn(ctx, "zbeeblebrox", password)
//	if err != nil { … }
//	defer client.LogOut(ctx, session)
//
// The operations also have the names, models and responses of the vendor's SDKs, under
// [Client.SessionManagement].
//
// The access token that every request needs beside the session is fetched,
// cached and shared by the Client. Make one Client and use it everywhere: it is
// safe for concurrent use.
//
// # Warnings
//
// Five strikes: the fifth failed login in a row locks the account, and only the
// operator of the service can unlock it. A wrong old password in a reset counts
// too. Never log in again after [ErrInvalidCredentials], [ErrPasswordMismatch]
// or [ErrAccountLocked] before a person has looked. Log in once and keep using
// the session: it lives for as long as it is never idle for 20 minutes, and
// [ErrSessionExpired] says when it is time for another.
//
// Told once: the server invents the new password of a reset, and tells it in
// that one answer only. Store it durably before anything else. Where the answer
// came but cannot be read, [ResponseError.RawBody] holds what arrived; where the
// answer was lost, [TransportError.MaybeSent] says that the password may have
// been changed all the same.
//
// Sent once: a login and a reset are never repeated, neither by this package nor
// by the HTTP transport beneath it; [Client.Do] says what may be. Whether to try again is the caller's
// decision, and [ErrNotSent] tells when that is free of any risk:
//
//	if errors.Is(err, latchkey.ErrNotSent) { … } // no strike was spent, nothing was changed
//
// # Errors
//
// Errors work with errors.As and errors.Is. The types say who spoke, and none
// of them prints a password or a token:
//
//   - [ConnectivityManagementResultError]: the service refused (HTTP 400 and a code)
//   - [FaultError]: the gateway in front of the service refused or failed
//   - [OAuthError]: the token endpoint refused, or another service of the API did
//   - [ResponseError]: an answer came that cannot be understood
//   - [TransportError]: no answer came
//   - [AccessTokenError]: wraps one of these where it befell the access token that
//     an operation needs, so that the operation itself was not sent
//
// The sentinels ([ErrSessionExpired], [ErrAccountLocked], [ErrThrottled] and
// their like) say what happened, whoever spoke.
package latchkey
