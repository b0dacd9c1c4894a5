package postgres_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/enginetest"
	"github.com/latchkey/latchkey/internal/store/postgres"
	"github.com/latchkey/latchkey/internal/store/storetest"
	"github.com/latchkey/latchkey/internal/testsupport"
)

// textOf returns the one text that a query returns.
func textOf(t *testing.T, url, query string) (text string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	must(t, err)
	defer func() { _ = conn.Close(context.Background()) }()
	must(t, conn.QueryRow(t.Context(), query).Scan(&text))
	return text
}

// TestEndsWithoutANotification ends sessions in ways in which the database notifies no
// replica, while a replica has them in its cache and receives its own heartbeats.
func TestEndsWithoutANotification(t *testing.T) {
	t.Parallel()
	const ends = `UPDATE sessions SET ended_at = 1; `
	for name, statements := range map[string]string{
		"triggers disabled": `ALTER TABLE sessions DISABLE TRIGGER ALL; ` + ends,
		"disabled for the moment": `BEGIN; ALTER TABLE sessions DISABLE TRIGGER ALL; ` + ends +
			`ALTER TABLE sessions ENABLE TRIGGER ALL; COMMIT`,
		"disabled by name": `BEGIN; ALTER TABLE sessions DISABLE TRIGGER latchkey_session_changed_1; ` + ends +
			`ALTER TABLE sessions ENABLE ALWAYS TRIGGER latchkey_session_changed_1; COMMIT`,
		"triggers dropped":    `DROP FUNCTION latchkey_notify_session CASCADE; ` + ends,
		"logical replication": `SET session_replication_role = replica; ` + ends,
		"restored": `BEGIN; CREATE TABLE again (LIKE sessions INCLUDING ALL); DROP TABLE sessions;
			ALTER TABLE again RENAME TO sessions; COMMIT`,
		"restored with others": `BEGIN; CREATE TABLE again (LIKE sessions INCLUDING ALL);
			ALTER TABLE sessions RENAME TO former; ALTER TABLE again RENAME TO sessions; COMMIT`,
	} {
		t.Run(name, func(t *testing.T) {
			url := enginetest.Postgres(t)
			one := openCached(t, postgres.Options{URL: url})
			other := openCached(t, postgres.Options{URL: url})
			cacheSession(t, 1, one, other)
			execute(t, url+"&default_query_exec_mode=simple_protocol", statements)
			refusedBy(t, 1, time.Now(), one, other)
			// The replicas see to it that there are triggers, and go on caching.
			waitTrusted(t, one, other)
			cacheSession(t, 2, one, other)
			must(t, endOf(one, 2))
			refusedBy(t, 2, time.Now(), other)
		})
	}
}

// TestAnotherProgramSendsHeartbeats has another program, which has found out on which
// channel a replica listens, send heartbeats there that seem to be good for ever, and to
// have been sent a moment ago.
func TestAnotherProgramSendsHeartbeats(t *testing.T) {
	t.Parallel()
	server := enginetest.StartPostgres(t)
	proxy := enginetest.StartProxy(t, server.Addr())
	one := openCached(t, postgres.Options{URL: server.URL()})
	other := openCached(t, postgres.Options{
		URL: server.URL(), ListenURL: strings.Replace(server.URL(), server.Addr(), proxy.Addr(), 1),
	})
	channels := textOf(t, server.URL(), `SELECT string_agg(substring(query FROM 'latchkey_[0-9a-f]+'), ' ')
		FROM pg_stat_activity
		WHERE query LIKE '%LISTEN latchkey_%' AND pid <> pg_backend_pid()`)
	if n := len(strings.Fields(channels)); n != 2 {
		t.Fatalf("%d replicas listen: %s", n, channels)
	}
	conn, err := pgx.Connect(t.Context(), server.URL())
	must(t, err)
	defer func() { _ = conn.Close(context.Background()) }()
	send := func(payload string) {
		for channel := range strings.FieldsSeq(channels) {
			if _, err := conn.Exec(t.Context(), `SELECT pg_notify($1, $2)`, channel, payload); err != nil {
				t.Error(err)
			}
		}
	}
	for _, payload := range []string{"", " ", "x", "-1", "9223372036854775807", fmt.Sprint(int64(postgres.BootTime()))} {
		send(payload)
	}
	waitTrusted(t, other) // garbage does no harm
	for round := range 4 {
		cacheSession(t, 10+round, one, other)
		sent, stop, stopped := make(chan bool), make(chan bool), make(chan bool)
		go func() { // so many that the last one which arrives is mostly one of them
			defer close(stopped)
			for {
				send("-9223372036854775808")
				select {
				case sent <- true:
				case <-stop:
					return
				default:
				}
			}
		}()
		for range 5 {
			<-sent
		}
		proxy.Stall()
		close(stop)
		<-stopped
		must(t, endOf(one, 10+round))
		refusedBy(t, 10+round, time.Now(), other, one)
		proxy.Heal()
		waitTrusted(t, other)
	}
}

// TestAServerThatEndsIdleSessions has a replica listen at a server that ends sessions of
// its own which are idle for a while. No time is moved here: it is the server's.
func TestAServerThatEndsIdleSessions(t *testing.T) {
	t.Parallel()
	url := enginetest.Postgres(t)
	// The tables are created before: on a busy machine, a migration is idle for longer.
	migrated, err := postgres.Open(t.Context(), postgres.Options{
		URL: url, IdleTimeout: storetest.Idle, Log: slog.New(slog.DiscardHandler),
	})
	must(t, err)
	must(t, migrated.Close(context.Background()))
	execute(t, url, "ALTER DATABASE "+textOf(t, url, "SELECT current_database()")+" SET idle_session_timeout = 300")
	var log bytes.Buffer
	db, err := postgres.Open(t.Context(), postgres.Options{
		URL: url, CacheSessions: true, IdleTimeout: storetest.Idle, Log: slog.New(slog.NewTextHandler(&log, nil)),
	})
	must(t, err)
	waitTrusted(t, db)
	must(t, db.CreateSession(t.Context(), storetest.NewSession(1, "u", start)))
	for i := range 3 {
		must(t, useOf(t, db, 1))
		idle, err := pgx.Connect(t.Context(), url)
		must(t, err)
		if _, err := idle.WaitForNotification(t.Context()); err == nil { // until it is ended
			t.Error("a connection was notified of nothing")
		}
		must(t, idle.Close(context.Background()))
		must(t, db.CreateSession(t.Context(), storetest.NewSession(2+i, "u", start)))
	}
	must(t, db.Close(context.Background()))
	if log.Len() > 0 {
		t.Errorf("it lost the listening connection:\n%s", &log)
	}
}

// TestServersThatTakeNoWrites has a standby be named before the primary, where a session
// lives that has ended at the primary, and a database that takes no writes for a while.
func TestServersThatTakeNoWrites(t *testing.T) {
	t.Parallel()
	primary, standby := enginetest.StartPostgres(t), enginetest.StartPostgres(t)
	one := openCached(t, postgres.Options{URL: primary.URL()})
	cacheSession(t, 1, one)
	// As if the session had been replicated.
	cacheSession(t, 1, openPostgres(t, postgres.Options{URL: standby.URL(), CacheSessions: true}))
	readOnly := func(server *enginetest.PostgresServer, value string) {
		writable := server.URL() + "&default_transaction_read_only=off"
		execute(t, writable, "ALTER DATABASE postgres SET default_transaction_read_only = "+value)
		execute(t, writable, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
			WHERE datname = 'postgres' AND pid <> pg_backend_pid()`)
	}
	readOnly(standby, "on")
	both := openPostgres(t, postgres.Options{
		URL: strings.Replace(primary.URL(), primary.Addr(), standby.Addr()+","+primary.Addr(), 1),
	})
	must(t, endOf(one, 1))
	if err := useOf(t, both, 1); !errors.Is(err, authority.ErrNotFound) {
		t.Errorf("for a session that has ended at the primary a replica which names the standby first returns %v", err)
	}
	_, err := postgres.Open(t.Context(), postgres.Options{URL: standby.URL()})
	if err == nil || !strings.Contains(err.Error(), "read only") {
		t.Errorf("a database that takes no writes is opened with %v", err)
	}

	readOnly(primary, "on")
	n := 10
	create := func() error {
		n++
		return one.CreateSession(t.Context(), storetest.NewSession(n, "u", start))
	}
	testsupport.Eventually(t, "a session cannot be created while the database takes no writes",
		func() bool { return create() != nil })
	for range 30 { // as many connections as there may be
		_ = create()
	}
	readOnly(primary, "off")
	testsupport.Eventually(t, "a session can be created again", func() bool { return create() == nil })
	for range 30 {
		must(t, create())
	}
}
