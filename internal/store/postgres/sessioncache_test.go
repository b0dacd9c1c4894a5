package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/enginetest"
	"github.com/latchkey/latchkey/internal/store/postgres"
	"github.com/latchkey/latchkey/internal/store/storetest"
	"github.com/latchkey/latchkey/internal/testsupport"
)

// openCached connects a replica that caches sessions, and returns when it trusts them.
func openCached(t *testing.T, options postgres.Options) *postgres.DB {
	t.Helper()
	options.CacheSessions = true
	db := openPostgres(t, options)
	waitTrusted(t, db)
	return db
}

func waitTrusted(t *testing.T, replicas ...*postgres.DB) {
	t.Helper()
	for _, db := range replicas {
		testsupport.Eventually(t, "a replica trusts its cache", func() bool { return postgres.Trusts(db) })
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// useOf uses a session in the first minute of its life.
func useOf(t *testing.T, db *postgres.DB, i int) error {
	t.Helper()
	_, err := db.UseSession(t.Context(), storetest.Key(i), start.Add(time.Second), storetest.Idle)
	return err
}

func endOf(db *postgres.DB, i int) error {
	end := authority.End{At: start, Reason: authority.ReasonLogout}
	_, err := db.EndSession(context.Background(), storetest.Key(i), end)
	return err
}

// cacheSession makes a session, and uses it on each replica until that has it in its
// cache.
func cacheSession(t *testing.T, i int, replicas ...*postgres.DB) {
	t.Helper()
	must(t, replicas[0].CreateSession(t.Context(), storetest.NewSession(i, fmt.Sprint("user ", i), start)))
	for _, db := range replicas {
		testsupport.Eventually(t, "a session is cached", func() bool {
			before := postgres.CacheHits(db)
			must(t, useOf(t, db, i))
			return postgres.CacheHits(db) > before
		})
	}
}

// refusedBy holds that replicas refuse a session: those whose check begins later than
// the promise allows, and for good once they have.
func refusedBy(t *testing.T, i int, ended time.Time, replicas ...*postgres.DB) {
	t.Helper()
	for _, db := range replicas {
		for refused := 0; refused < 5; {
			began := time.Now()
			switch err := useOf(t, db, i); {
			case errors.Is(err, authority.ErrNotFound):
				refused++
			case err != nil:
				t.Fatalf("session %d: %v", i, err)
			case refused > 0:
				t.Fatalf("session %d was refused, and is returned again", i)
			case began.Sub(ended) > authority.MaxStaleness:
				t.Fatalf("session %d is returned by a check that began %v after its end", i, began.Sub(ended))
			}
		}
	}
}

func execute(t *testing.T, url, statement string, arguments ...any) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	must(t, err)
	defer func() { _ = conn.Close(context.Background()) }()
	_, err = conn.Exec(t.Context(), statement, arguments...)
	must(t, err)
}

// TestEveryEndInvalidates has sessions end in every way that there is, some of which
// are not latchkey's, while two replicas have them in their caches.
func TestEveryEndInvalidates(t *testing.T) {
	t.Parallel()
	url := enginetest.Postgres(t)
	options := postgres.Options{URL: url}
	one, other := openCached(t, options), openCached(t, options)
	plain := openPostgres(t, options) // caches nothing, as an admin command
	key := func(i int) []byte { k := storetest.Key(i); return k[:] }
	for i, end := range []func(i int){
		func(i int) { must(t, endOf(one, i)) },
		func(i int) { must(t, endOf(plain, i)) },
		func(i int) {
			end := authority.End{At: start, Reason: authority.ReasonReset}
			n, err := one.EndUserSessions(t.Context(), fmt.Sprint("user ", i), 9, authority.SessionKey{}, end)
			if err != nil || n != 1 {
				t.Fatal(n, err)
			}
		},
		func(int) {
			_, err := plain.SweepSessions(t.Context(), start.Add(2*storetest.Idle), storetest.Idle, 100)
			must(t, err)
		},
		func(i int) { // found expired by a replica whose clock is ahead
			_, err := plain.UseSession(t.Context(), storetest.Key(i), start.Add(2*storetest.Idle), storetest.Idle)
			if !errors.Is(err, authority.ErrNotFound) {
				t.Fatal(err)
			}
		},
		func(i int) { execute(t, url, `UPDATE sessions SET ended_at = 1 WHERE session_key = $1`, key(i)) },
		func(i int) { execute(t, url, `DELETE FROM sessions WHERE session_key = $1`, key(i)) },
		func(int) { execute(t, url, `TRUNCATE sessions`) },
	} {
		cacheSession(t, i, one, other)
		end(i)
		ended := time.Now()
		for _, db := range []*postgres.DB{one, other} {
			if !postgres.CaughtUp(t.Context(), db) {
				t.Fatal("a heartbeat does not come back")
			}
			if err := useOf(t, db, i); !errors.Is(err, authority.ErrNotFound) {
				t.Errorf("end %d: a replica that has received all that was committed before returns %v", i, err)
			}
		}
		refusedBy(t, i, ended, one, other)
	}
	cacheSession(t, 100, one, other)
	cacheSession(t, 101, one, other)
	must(t, endOf(one, 100))
	hits := postgres.CacheHits(other)
	postgres.CaughtUp(t.Context(), other)
	must(t, useOf(t, other, 101))
	if postgres.CacheHits(other) == hits {
		t.Error("the end of one session has invalidated another")
	}
}

// TestAStalledConnection has nothing pass over the connection that notifications come
// over, while ends are made elsewhere.
func TestAStalledConnection(t *testing.T) {
	t.Parallel()
	server := enginetest.StartPostgres(t)
	proxy := enginetest.StartProxy(t, server.Addr())
	listen := strings.Replace(server.URL(), server.Addr(), proxy.Addr(), 1)
	one := openCached(t, postgres.Options{URL: server.URL()})
	other := openCached(t, postgres.Options{URL: server.URL(), ListenURL: listen})
	for round := range 3 {
		i := 10 * round
		for n := range 4 {
			cacheSession(t, i+n, one, other)
		}
		proxy.Stall()
		for n := range 3 {
			must(t, endOf(one, i+n))
			refusedBy(t, i+n, time.Now(), other, one)
		}
		if postgres.Trusts(other) {
			t.Error("a replica trusts its cache, and nothing that is sent to it arrives")
		}
		must(t, useOf(t, other, i+3))
		proxy.Heal()
		waitTrusted(t, other)
		refusedBy(t, i, time.Now().Add(-time.Hour), other)
		cacheSession(t, i+5, other)
	}
	proxy.Latency(150 * time.Millisecond)
	testsupport.Eventually(t, "a slow connection is not trusted", func() bool { return !postgres.Trusts(other) })
	must(t, useOf(t, other, 25))
}

// movable is a clock that is moved.
type movable struct {
	ahead atomic.Int64
}

func (m *movable) boot() time.Duration { return postgres.BootTime() + time.Duration(m.ahead.Load()) }

// TestAPauseBetweenHeartbeatAndCheck has the clock of a replica go on while the replica
// does nothing, as when its process is stopped or its machine suspended, and its wall
// clock be set. What it has in its cache may have ended since.
func TestAPauseBetweenHeartbeatAndCheck(t *testing.T) {
	t.Parallel()
	server := enginetest.StartPostgres(t)
	proxy := enginetest.StartProxy(t, server.Addr())
	var boot movable
	var wall atomic.Int64
	one := openCached(t, postgres.Options{URL: server.URL()})
	other := openCached(t, postgres.WithBootClock(postgres.Options{
		URL: server.URL(), ListenURL: strings.Replace(server.URL(), server.Addr(), proxy.Addr(), 1),
		Now: func() time.Time { return time.Now().Round(0).Add(time.Duration(wall.Load())) },
	}, boot.boot))
	for i, set := range []time.Duration{0, time.Hour, -2 * time.Hour} {
		cacheSession(t, i, one, other)
		proxy.Stall() // so that the replica does not hear of it
		must(t, endOf(one, i))
		wall.Store(int64(set))
		boot.ahead.Add(int64(authority.MaxStaleness))
		if err := useOf(t, other, i); !errors.Is(err, authority.ErrNotFound) {
			t.Errorf("with its clock set by %v a replica that was paused returns %v for a session that has ended since",
				set, err)
		}
		proxy.Heal()
		waitTrusted(t, other)
	}
}

// TestAnEndDuringTheLookup has sessions end while a replica looks them up: it receives
// the notification before the row, in which they are live. They must not stay in its
// cache.
func TestAnEndDuringTheLookup(t *testing.T) {
	t.Parallel()
	server := enginetest.StartPostgres(t)
	proxy := enginetest.StartProxy(t, server.Addr())
	one := openCached(t, postgres.Options{URL: server.URL()})
	slow := openCached(t, postgres.Options{
		URL: strings.Replace(server.URL(), server.Addr(), proxy.Addr(), 1), ListenURL: server.URL(),
	})
	const n = 20
	for i := range n {
		cacheSession(t, i, one) // so that no later use needs to be written
	}
	proxy.Latency(150 * time.Millisecond)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			if err := useOf(t, slow, i); err != nil && !errors.Is(err, authority.ErrNotFound) {
				t.Error(err)
			}
		})
		all.Go(func() {
			pause := time.NewTimer(50 * time.Millisecond) // the row is under way by then, mostly
			<-pause.C
			if err := endOf(one, i); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	proxy.Heal()
	waitTrusted(t, slow)
	postgres.CaughtUp(t.Context(), slow)
	for i := range n {
		if err := useOf(t, slow, i); !errors.Is(err, authority.ErrNotFound) {
			t.Errorf("session %d has ended, and a replica returns %v", i, err)
		}
	}
}

// TestAClientThatAReplicaCannotHearOf revokes an API client while nothing reaches a
// replica that has it in memory.
func TestAClientThatAReplicaCannotHearOf(t *testing.T) {
	t.Parallel()
	server := enginetest.StartPostgres(t)
	proxy := enginetest.StartProxy(t, server.Addr())
	var boot movable
	one := openCached(t, postgres.Options{URL: server.URL()})
	other := openCached(t, postgres.WithBootClock(postgres.Options{URL: server.URL(),
		ListenURL: strings.Replace(server.URL(), server.Addr(), proxy.Addr(), 1)}, boot.boot))
	client := authority.Client{ID: authority.ClientID{1}, Key: "k", CreatedAt: start}
	must(t, one.CreateClient(t.Context(), client))
	for stalled := range 2 {
		if stalled == 1 {
			waitTrusted(t, other)
			proxy.Stall()
		}
		_, err := other.Client(t.Context(), client.ID)
		must(t, err)
		_, err = one.UpdateClient(t.Context(), client.ID, func(c *authority.Client) error { c.TokenSerial++; return nil })
		must(t, err)
		if got, err := other.Client(t.Context(), client.ID); err != nil || got.TokenSerial != int64(stalled+1) {
			t.Errorf("after the change was acknowledged another replica has %+v, error %v", got, err)
		}
	}
	proxy.Heal()
}
