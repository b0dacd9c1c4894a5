// Package keeper keeps one session with a ThingSpace Connectivity Management service
// for all callers of a program, or of a host. It logs in once, renews the session and
// the access token, and never locks the account.
//
//	client, err := latchkey.NewClient(latchkey.Config{APIKey: "…", APISecret: secret})
//	if err != nil { … }
//	state, err := keeper.NewFileState("/var/lib/myapp/upstream")
//	if err != nil { … }
//	k, err := keeper.New(keeper.Config{
//		Upstream:   client,
//		Credential: keeper.Static("zbeeblebrox", password), // or another credential.Source
//		State:      state,
//	})
//	if err != nil { … }
//	defer k.Close(ctx)
//
//	resp, err := k.HTTPClient().Get("https://thingspace.verizon.com/api/m2m/v1/…")
//
// Every request of that http.Client carries two live tokens:
//
//   - [Keeper.HTTPClient] and [Keeper.Transport] send requests. [Keeper.Tokens] returns
//     the tokens for requests that are sent in other ways, and [Keeper.TokenSource] an
//     oauth2.TokenSource.
//   - A request that is refused for its token is sent again with a renewed one. A
//     session that was idle for too long, and an access token whose hour ends, are renewed
//     before a request needs them.
//   - Concurrent callers share one renewal. They also share its failure, which later
//     callers get at once until it is time for the next attempt.
//   - While the upstream cannot be reached, no login is made. Requests fail as they would
//     without a Keeper, and the session is still there when the upstream is back.
//
// # The guard
//
// Five failed logins in a row lock an account, and only the vendor's support unlocks it.
// The Keeper spends at most two of the five, whatever happens: each login is recorded
// before it is sent, across restarts and for all processes that share the [State].
//
// A refused password latches the guard at once. An outcome that may have counted as a
// failure (no response, a broken connection, an error 5xx) is one strike. After the first
// strike, the next login waits for ten seconds, and until the upstream returns access
// tokens again. The second strike latches the guard. A login that was not sent, or that
// the gateway refused, is no strike. While the guard is latched, the error is a
// *[LatchedError] with the time and the reason. Its Hint says what to do: correct the
// password in the credential.Source, or have an operator run `latchkey guard reset`, which
// calls [Keeper.ResetGuard]. A changed password is tried automatically as long as fewer
// than two strikes are spent on the account, because it may be wrong as well. A live
// session remains in use all the time. Every other failure is a *[WaitError] with the time
// of the next attempt.
//
// # Rotation
//
// [Keeper.Rotate] changes the password, and Rotation.Every does so automatically. The
// upstream generates the new password, puts it into effect at once and returns it once, so
// the order of the steps matters. Before the reset is sent, the credential store has shown
// that it can be written, and the State holds the intent. The reset is sent once, whether
// or not the caller is still waiting. The raw response is saved in the State before it is
// parsed. Then the password is saved in the store, a login proves it, and the State
// forgets it.
//
// If the program ends on the way, the next one finishes the rotation: within a minute,
// before its next login, or when [Keeper.ResumeRotation] is called. If there was no
// response, one login with the old password determines whether it is still in effect. If
// that login is refused, the new password is lost ([RotationLost]), because no later
// response has it. The Keeper then makes no further login, and the live session remains in
// use until the password that the vendor's support has set is in the store.
//
// # Sharing
//
// With a [FileState], the processes of a host share one session and one guard, and a
// program that is restarted continues the session. With a [MemoryState] everything ends
// with the program: a supervisor that restarts it in a loop can lock the account.
//
// The programs of many hosts share a state in a database: packages keeper/pgstate
// (PostgreSQL) and keeper/redisstate. If one of them dies during a login, the next login is
// made 15 seconds later. The credential may come from a store on each host that lags behind
// the others, because a password that a rotation has replaced is never tried. If passwords
// are rotated, however, all hosts should read them from one store. Package keeper/statetest
// tests a State of your own.
//
// # Clocks
//
// What is kept across restarts is kept with times, and clocks may be wrong: a board boots
// with the wrong year, logs in, and then its clock is set. A time in the future counts as
// now, and no wait is longer than its own length. A password that was first seen by a clock
// that was behind counts as older than it is, and is rotated early. Tests set Config.Now,
// or the clock of the client.
//
// # Monitoring
//
// [Keeper.Status] is for people, [Keeper.Stats] for a Prometheus counter, and
// Config.OnEvent and Config.Log receive every change as it happens. None of them contains
// a password or a token.
package keeper
