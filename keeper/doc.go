// Package keeper keeps one session with a ThingSpace Connectivity Management
// service for all the callers of a program, or of a host. It logs in once,
// renews what dies, and never locks the account.
//
//	client, err := latchkey.NewClient(latchkey.Config{APIKey: "…", APISecret: secret})
//	if err != nil { … }
//	state, err := keeper.NewFileState("/var/lib/myapp/upstream")
//	if err != nil { … }
//	k, err := keeper.New(keeper.Config{
//		Upstream:   client,
//		Credential: keeper.Static("zbeeblebrox", password), // or a credential.Store
//		State:      state,
//	})
//	if err != nil { … }
//	defer k.Close(ctx)
//
//	resp, err := k.HTTPClient().Get("https://thingspace.verizon.com/api/m2m/v1/…")
//
// Every request of that http.Client carries two live tokens. Behind it:
//
//   - [Keeper.HTTPClient] and [Keeper.Transport] send requests; [Keeper.Tokens]
//     is for those that go another way, [Keeper.TokenSource] for code that wants
//     an oauth2.TokenSource.
//   - A request that is refused for its token is sent once more, with a renewed
//     one. A session that was idle for too long, and a bearer whose hour ends,
//     are renewed ahead of the request.
//   - Whoever needs a renewal shares one. Its failure is shared, too, and callers
//     get it at once until it is time for another try.
//   - While the upstream is away nobody logs in: requests fail as they would, and
//     the session is there when it is back.
//
// # The guard
//
// Five failed logins in a row lock an account, and only the vendor's support
// unlocks it. The keeper spends two of the five at most, whatever happens: each
// attempt is on record before it is made, over restarts and for all processes
// that share the [State].
//
// A refusal of the password stops it at once. What may have been a failure (no
// answer, a cut connection, an error 5xx) counts as one: after the first, the
// next waits for ten seconds, and until the upstream hands out access tokens
// again; after the second the keeper stops. What was not sent, or was turned away
// by the gateway, does not count. Then the answer is a *[LatchedError], which
// says since when, why, and what to do: put the right password where the
// [CredentialSource] finds it, or have an operator run `latchkey guard reset`,
// which calls [Keeper.ResetGuard]. A changed password is tried by itself as long as
// fewer than two strikes are spent on the account, since it may be wrong as well.
// The session that is there goes on being used all the while. Every other failure is
// a *[WaitError], which says until when nothing is tried.
//
// # Rotation
//
// [Keeper.Rotate] changes the password, and Config.RotateEvery has that done by
// itself. The upstream makes up the new password, puts it into force at once and
// tells it once, so the order of things is everything: nothing is sent before the
// credential store has proven that it can be written and the State holds the
// intent; the reset is sent once, whoever leaves meanwhile; its raw answer is in
// the State before anything looks into it; then the store gets the new password, a
// login proves it, and the State forgets it.
//
// Whatever ends the program on the way, the next one settles it: within a minute,
// before its next login, or when [Keeper.ResumeRotation] is called. Where no
// answer came, one login with the old password tells whether it still holds. If it
// is refused, the new one is lost: nothing that the keeper could do would bring it
// back, so it stops logging in, says so ([RotationLost]), and goes on with the
// session that is there until somebody puts the password from the vendor's support
// into the store.
//
// # Sharing
//
// With a [FileState], the processes of a host use one session and one guard, and
// a program that is started again goes on with the session that it had. With a
// [MemoryState] all of that ends with the program: something that restarts it
// again and again can lock the account.
//
// The programs of many hosts share theirs in a database: packages keeper/pgstate
// (PostgreSQL) and keeper/redisstate. One that dies at its login is outlived in 15
// seconds. The credential may come from a store of each host's own that lags behind
// the others', for a password that a rotation has replaced is never tried; but where
// passwords are rotated, one store should be the source of them all. Package
// keeper/statetest proves a State of your own.
//
// # Clocks
//
// What is kept over restarts is kept with times, and clocks may be wrong: a board
// boots in another year, logs in, and then its clock is put right. A time that lies
// in the future counts as now, and no wait is longer than its own length. A password
// that was first seen by a clock that was behind counts as older than it is, and so
// is rotated early. Config.Now, or the clock of the client, is for tests that move it.
//
// # Watching
//
// [Keeper.Status] is for people, [Keeper.Stats] for a Prometheus counter, and
// Config.OnEvent and Config.Log get every change as it happens. None of them
// ever holds a password or a token.
package keeper
