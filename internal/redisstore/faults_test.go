package redisstore_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/enginetest"
	"github.com/latchkey/latchkey/internal/redisstore"
	"github.com/latchkey/latchkey/internal/storetest"
)

// stale is for how long after its end was acknowledged a session may still be
// answered.
const stale = 100 * time.Millisecond

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// create makes a session, and uses it on each replica until all have a copy.
func create(t *testing.T, i int, replicas ...*replica) {
	t.Helper()
	must(t, replicas[0].store.CreateSession(t.Context(), storetest.NewSession(i, fmt.Sprint("user ", i), start)))
	for range 3 {
		for _, r := range replicas {
			must(t, use(t, r, i))
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// use is a use of a session in the first minute of its life.
func use(t *testing.T, r *replica, i int) error {
	t.Helper()
	_, err := r.store.UseSession(t.Context(), storetest.Key(i), start.Add(time.Second), storetest.Idle)
	return err
}

func end(r *replica, i int) error {
	_, err := r.store.EndSession(context.Background(), storetest.Key(i), authority.End{At: start, Reason: authority.ReasonLogout})
	return err
}

// refused holds that a session that has ended is refused, soon and for good.
func refused(t *testing.T, i int, ended time.Time, replicas ...*replica) (longest time.Duration) {
	t.Helper()
	for n := range 20 {
		r := replicas[n%len(replicas)]
		began := time.Now()
		switch err := use(t, r, i); {
		case errors.Is(err, authority.ErrNotFound):
		case err != nil:
			t.Fatalf("session %d: %v", i, err)
		case began.Sub(ended) > stale:
			t.Fatalf("session %d is answered %v after its end", i, began.Sub(ended))
		default:
			longest = max(longest, began.Sub(ended))
		}
	}
	return longest
}

// wait returns when a replica relies on Redis, or on nothing but its database.
func wait(t *testing.T, r *replica, relied bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(20 * time.Second)
	for redisstore.Relies(r.store) != relied {
		_, _ = r.store.UseSession(t.Context(), authority.SessionKey{}, start, storetest.Idle)
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("after 20 seconds it still does not hold that it relies on redis: %v", relied)
		}
	}
}

func TestAnEndIsHeardByAllReplicas(t *testing.T) {
	url, redis := enginetest.Postgres(t), enginetest.Redis(t)
	a, b, c := open(t, url, redis), open(t, url, redis), open(t, url, redis)
	n := 150
	if os.Getenv("LATCHKEY_SOAK") != "" {
		n = 2000
	}
	var longest time.Duration
	for i := range n {
		create(t, i, a, b, c)
		if i%3 == 0 {
			ended, err := b.store.EndUserSessions(t.Context(), fmt.Sprint("user ", i), 9, authority.SessionKey{}, authority.End{At: start, Reason: authority.ReasonReset})
			if err != nil || ended != 1 {
				t.Fatal(ended, err)
			}
		} else {
			must(t, end(a, i))
		}
		longest = max(longest, refused(t, i, time.Now(), c, b, a))
	}
	memory, fromRedis, below := redisstore.Answers(a.store)
	t.Logf("of %d ended sessions one was last answered %v after its end; %d checks were answered from memory, %d from redis, %d from the database", n, longest, memory, fromRedis, below)
	if memory == 0 || fromRedis == 0 {
		t.Error("no copy was ever answered; the test proves nothing")
	}
}

// TestRedisRestoredFromAnOldDump has Redis come back with copies of sessions that
// have ended since.
func TestRedisRestoredFromAnOldDump(t *testing.T) {
	url, server := enginetest.Postgres(t), enginetest.StartRedis(t)
	a, b := open(t, url, server.URL()), open(t, url, server.URL())
	const n = 20
	for i := range n {
		create(t, i, a, b)
	}
	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{server.Addr()}, DisableCache: true})
	must(t, err)
	defer client.Close()
	must(t, client.Do(t.Context(), client.B().Save().Build()).Error())
	for i := range n / 2 {
		must(t, end(a, i))
	}
	for range 3 {
		server.Kill()
		server.Start()
		for round := range 50 {
			for i := range n {
				r := []*replica{a, b}[round%2]
				if err := use(t, r, i); (err == nil) != (i >= n/2) || err != nil && !errors.Is(err, authority.ErrNotFound) {
					t.Fatalf("session %d answers %v when redis is restored", i, err)
				}
			}
		}
		wait(t, a, true)
	}
	fresh := open(t, url, server.URL()) // which has seen nothing of all that
	wait(t, fresh, true)
	for i := range n {
		if err := use(t, fresh, i); (err == nil) != (i >= n/2) {
			t.Errorf("session %d answers %v on a new replica", i, err)
		}
	}
}

func TestWithoutRedisTheDatabaseAnswers(t *testing.T) {
	url, server := enginetest.Postgres(t), enginetest.StartRedis(t)
	a, b := open(t, url, server.URL()), open(t, url, server.URL())
	for i := range 6 {
		create(t, i, a, b)
	}
	server.Kill()
	must(t, end(a, 0))
	refused(t, 0, time.Now(), b, a)
	for i := range 6 {
		for _, r := range []*replica{a, b} {
			if err := use(t, r, i); (err == nil) != (i > 0) {
				t.Errorf("without redis session %d answers %v", i, err)
			}
		}
	}
	late := open(t, url, server.URL()) // starts while redis is away
	if err := use(t, late, 1); err != nil {
		t.Errorf("a replica that started without redis answers %v", err)
	}
	server.Start()
	for _, r := range []*replica{a, b, late} {
		wait(t, r, true)
	}
	must(t, end(late, 1))
	refused(t, 1, time.Now(), a, b, late)
	refused(t, 0, time.Now().Add(-time.Hour), a, b, late)
}

// TestAReplicaThatRedisCannotReach holds that it relies on its copies no longer than
// their lease, however quiet the connection is; and that one which can tell Redis
// nothing has its ends heard all the same.
func TestAReplicaThatRedisCannotReach(t *testing.T) {
	url, server := enginetest.Postgres(t), enginetest.StartRedis(t)
	proxy := enginetest.StartProxy(t, server.Addr())
	a, b := open(t, url, server.URL()), open(t, url, "redis://"+proxy.Addr())
	for i := range 20 {
		create(t, i, a, b)
	}
	proxy.Stall()
	for i := range 10 {
		must(t, end(a, i))
		refused(t, i, time.Now(), b)
	}
	must(t, end(b, 10))
	refused(t, 10, time.Now(), a, b)
	if err := use(t, b, 11); err != nil {
		t.Errorf("a live session answers %v", err)
	}
	proxy.Heal()
	wait(t, b, true)
	must(t, end(b, 11))
	refused(t, 11, time.Now(), a, b)
	proxy.Latency(200 * time.Millisecond)
	must(t, end(a, 12))
	refused(t, 12, time.Now(), b)
	must(t, end(b, 13))
	refused(t, 13, time.Now(), a, b)
}

// failOver ends sessions while a Redis that has a replica is dead, and looks at all of
// them when the replica has taken over.
func failOver(t *testing.T, redis string, kill func()) {
	t.Helper()
	url := enginetest.Postgres(t)
	a, b := open(t, url, redis), open(t, url, redis)
	const n = 30
	for i := range n {
		create(t, i, a, b)
	}
	wait(t, a, true)
	kill()
	for i := range n / 2 {
		must(t, end(a, i))
		refused(t, i, time.Now(), b, a)
	}
	for _, r := range []*replica{a, b} {
		wait(t, r, true) // the failover is over
		for i := range n {
			if err := use(t, r, i); (err == nil) != (i >= n/2) {
				t.Errorf("after the failover session %d answers %v", i, err)
			}
		}
	}
}

func TestAClusterFailsOver(t *testing.T) {
	cluster := enginetest.StartRedisCluster(t, 1)
	failOver(t, nodes(cluster.Addrs()), cluster.Masters()[0].Kill)
}

func TestSentinelsFailOver(t *testing.T) {
	group := enginetest.StartRedisSentinel(t)
	failOver(t, nodes(group.Addrs())+"&master_set="+enginetest.RedisMasterName, group.Master().Kill)
}

// TestADatabaseUsedWithoutItsRedis ends sessions on a replica, or by a command, that
// was not told of the Redis that others use.
func TestADatabaseUsedWithoutItsRedis(t *testing.T) {
	url, redis := enginetest.Postgres(t), enginetest.Redis(t)
	a, b := open(t, url, redis), open(t, url, redis)
	for i := range 10 {
		create(t, i, a, b)
	}
	for i := range 10 {
		_, err := a.db.EndSession(t.Context(), storetest.Key(i), authority.End{At: start, Reason: authority.ReasonAdmin})
		must(t, err)
		refused(t, i, time.Now(), a, b)
	}
}
