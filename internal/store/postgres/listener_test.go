package postgres_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/enginetest"
	"github.com/latchkey/latchkey/internal/store/postgres"
	"github.com/latchkey/latchkey/internal/store/storetest"
	"github.com/latchkey/latchkey/internal/testsupport"
)

// TestListenElsewhere makes a replica listen where no session ends. It must not trust its
// cache then.
func TestListenElsewhere(t *testing.T) {
	t.Parallel()
	url, elsewhere := enginetest.Postgres(t), enginetest.Postgres(t)
	openCached(t, postgres.Options{URL: elsewhere}) // is a database of latchkey, too
	bouncer := enginetest.StartPgBouncer(t, url)
	for name, options := range map[string]postgres.Options{
		"another database":     {URL: url, ListenURL: elsewhere},
		"a pooler":             {URL: bouncer},
		"through the pooler":   {URL: url, ListenURL: bouncer},
		"nothing listens here": {URL: url, ListenURL: "postgres://u@127.0.0.1:1/x"},
	} {
		t.Run(name, func(t *testing.T) {
			options.CacheSessions = true
			db := openPostgres(t, options)
			must(t, db.CreateSession(t.Context(), storetest.NewSession(len(name), "u", start)))
			over := time.After(400 * time.Millisecond) // several heartbeats
			for done := false; !done; {
				must(t, useOf(t, db, len(name)))
				select {
				case <-over:
					done = true
				default:
				}
			}
			if postgres.CacheHits(db) > 0 || postgres.Trusts(db) {
				t.Error("it trusts its cache")
			}
			must(t, endOf(db, len(name)))
			refusedBy(t, len(name), time.Now().Add(-time.Hour), db)
		})
	}
	t.Run("a pooler and the database beside it", func(t *testing.T) {
		options := postgres.Options{URL: bouncer, ListenURL: url}
		one, other := openCached(t, options), openCached(t, options)
		cacheSession(t, 1, one, other)
		must(t, endOf(one, 1))
		refusedBy(t, 1, time.Now(), other)
	})
}

// TestALogLineNamesThePooler reads the advice in the log of a replica that listens through a
// pooler.
func TestALogLineNamesThePooler(t *testing.T) {
	t.Parallel()
	url := enginetest.Postgres(t)
	logged := make(lines, 100)
	db, err := postgres.Open(t.Context(), postgres.Options{
		URL: url, ListenURL: enginetest.StartPgBouncer(t, url), CacheSessions: true, IdleTimeout: storetest.Idle,
		Log: slog.New(slog.NewTextHandler(logged, nil)),
	})
	must(t, err)
	defer func() { must(t, db.Close(context.Background())) }()
	select {
	case line := <-logged:
		if !strings.Contains(line, "does not pass notifications on\" hint=\"name the database itself") {
			t.Errorf("the log says %s", line)
		}
	case <-time.After(10 * time.Second):
		t.Error("nothing was logged")
	}
}

// lines receives each line of a log.
type lines chan string

func (l lines) Write(line []byte) (int, error) {
	select {
	case l <- string(line):
	default:
	}
	return len(line), nil
}

// TestAFailoverThatTheListenerDoesNotFollow has the database move to another server,
// while the former one goes on running, and a replica still listens there.
func TestAFailoverThatTheListenerDoesNotFollow(t *testing.T) {
	t.Parallel()
	former, next := enginetest.StartPostgres(t), enginetest.StartPostgres(t)
	proxy := enginetest.StartProxy(t, former.Addr())
	other := openCached(t, postgres.Options{
		URL: strings.Replace(former.URL(), former.Addr(), proxy.Addr(), 1), ListenURL: former.URL(),
	})
	one := openCached(t, postgres.Options{URL: next.URL()})
	const n = 5
	for i := range n {
		cacheSession(t, i, other)
		cacheSession(t, i, one) // the same, as if it had been replicated
	}
	proxy.Redirect(next.Addr())
	for i := range n - 1 {
		must(t, endOf(one, i))
		ended := time.Now()
		testsupport.Eventually(t, "the session is refused", func() bool {
			began := time.Now()
			err := useOf(t, other, i) // the connections that were cut are found out one by one
			if err == nil && began.Sub(ended) > authority.MaxStaleness {
				t.Errorf("session %d is returned by a check that began %v after its end", i, began.Sub(ended))
			}
			return errors.Is(err, authority.ErrNotFound)
		})
		refusedBy(t, i, ended, other)
	}
	must(t, useOf(t, other, n-1))
	if postgres.Trusts(other) {
		t.Error("a replica trusts its cache, and listens where no session ends any more")
	}
	proxy.Redirect(former.Addr())
	waitTrusted(t, other)
}

// TestTheListeningConnectionIsReplaced has the connection of a replica be ended, by the
// database and with it, and ends sessions while there is none.
func TestTheListeningConnectionIsReplaced(t *testing.T) {
	t.Parallel()
	server := enginetest.StartPostgres(t)
	one, other := openCached(t, postgres.Options{URL: server.URL()}), openCached(t, postgres.Options{URL: server.URL()})
	const killed = 3
	end := func(round, session int) {
		testsupport.Eventually(t, "the session is ended", func() bool {
			err := endOf(one, session)
			if round != killed { // which has cut the connections of the pool as well
				must(t, err)
			}
			return err == nil
		})
	}
	for i := range 5 {
		cacheSession(t, 2*i, one, other)
		cacheSession(t, 2*i+1, one, other)
		if i == killed {
			server.Kill()
			server.Start()
			for _, db := range []*postgres.DB{one, other} {
				testsupport.Eventually(t, "sessions are checked again", func() bool { return useOf(t, db, 2*i+1) == nil })
			}
		} else {
			execute(t, server.URL(), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
				WHERE query LIKE '%LISTEN latchkey_%' AND pid <> pg_backend_pid()`)
		}
		if i == 4 { // the triggers were removed
			execute(t, server.URL(), `DROP FUNCTION latchkey_notify_session CASCADE`)
		}
		end(i, 2*i)
		refusedBy(t, 2*i, time.Now(), one, other)
		waitTrusted(t, one, other)
		must(t, useOf(t, other, 2*i+1))
		end(i, 2*i+1)
		refusedBy(t, 2*i+1, time.Now(), other)
	}
}
