// Package sqlstore keeps the state of an authority in an SQLite database: a file
// that one process owns, or memory for tests and the demonstration.
//
//	db, err := sqlstore.Open(ctx, sqlstore.Options{Path: "/var/lib/latchkey/latchkey.db"})
//	if err != nil { … } // one line for the operator; see OpenError
//	defer db.Close(ctx)
//	authority.New(db.Stores(), …)
//
// # Ownership
//
// Open locks PATH.lock until Close, so that one process at a time has the
// database. Everything below rests on that: sessions and API clients are answered
// from memory, and memory is right because nobody else writes.
//
// # Writing
//
// One goroutine owns the one connection that writes. It takes the changes that
// wait, up to 128 of them, runs each in a savepoint of its own, commits them
// together with synchronous=FULL, and only then answers. So a change that was
// answered is on the disk, and a hundred changes cost one sync. When the commit
// fails, every change in it fails.
//
// A caller may leave while waiting, by its context. A change that had not begun
// is then never made; of one that had, the error says that it may have been made.
//
// # Sessions
//
// Every live session is in memory as well, at a cost that the benchmark
// BenchmarkMemoryPerSession reports, so UseSession and Client touch no database.
// After Open the sessions are loaded in the background; until their part is
// loaded, a session that is not in memory is looked for in the database.
//
// The last use of a session is exact in memory. On the disk it is written ahead:
// the column holds the last use plus Options.SlideAhead, or less, but never an
// earlier time than the last use that was answered. Therefore a crash never makes
// a session expire early, and it may make one live longer by up to SlideAhead. A
// session in steady use is written about once per SlideAhead, in the background;
// one that was left alone for longer than that waits for the disk when it is used
// again. Close writes the exact times, as far as its context lets it.
//
// All times are those that callers pass in. The wall clock only paces the
// background work.
package sqlstore
