// Package latchkey is a client of the ThingSpace Connectivity Management session
// API: log in, log out, and change the password. It is an independent project
// and works with any service that has this API, the vendor's or `latchkey serve`.
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
// The Client fetches and caches the access token that every request needs beside the
// session. Make one Client and use it everywhere: it is safe for concurrent use.
//
// # Warnings
//
// Five strikes: the fifth failed login in a row locks the account, and only the operator of
// the service can unlock it. A wrong old password in a reset counts too. After
// [ErrInvalidCredentials], [ErrPasswordMismatch] or [ErrAccountLocked], do not log in again
// before a person has looked. Log in once and keep using the session: it lives as long as
// it is never idle for 20 minutes. [ErrSessionExpired] means that it is time for another.
//
// One response: the server makes the new password of a reset and returns it in one response
// only. Store it durably before you do anything else. If the response cannot be parsed,
// [ResponseError.RawBody] holds what arrived. If it was lost, [TransportError.MaybeSent]
// reports that the password may have been changed.
//
// Sent once: neither this package nor the HTTP transport repeats a login or a reset;
// [Client.Do] describes other requests. Whether to try again is the decision of the caller.
// It is safe after [ErrNotSent]:
//
//	if errors.Is(err, latchkey.ErrNotSent) { … } // no strike was spent, nothing was changed
//
// # Errors
//
// Test errors with errors.Is and errors.As. None of them prints a password or a token. Some
// have a method Hint, which returns advice for a person. The types:
//
//   - [ConnectivityManagementResultError]: the service refused (HTTP 400 and a code)
//   - [FaultError]: the API gateway in front of the service refused or failed
//   - [OAuthError]: the token endpoint refused, or another service of the API did
//   - [ResponseError]: there was a response that cannot be understood
//   - [TransportError]: there was no response
//   - [AccessTokenError]: wraps one of these if there was no access token for an
//     operation, which was not sent
//
// The sentinels ([ErrSessionExpired], [ErrAccountLocked], [ErrThrottled] and the others)
// mean the same, whatever the service and the type.
package latchkey
