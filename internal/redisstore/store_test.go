package redisstore_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/enginetest"
	"github.com/latchkey/latchkey/internal/redisstore"
	"github.com/latchkey/latchkey/internal/sqlstore"
	"github.com/latchkey/latchkey/internal/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, enginetest.Leaks()...) }

// replica is one process's view of a database and a Redis that it shares with
// others.
type replica struct {
	db    *sqlstore.Postgres
	store *redisstore.Store
}

func (r *replica) stores() authority.Stores {
	stores := r.db.Stores()
	stores.Sessions = r.store
	return stores
}

// open connects a replica; it ends with the test.
func open(t testing.TB, database, redis string) *replica {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	db, err := sqlstore.OpenPostgres(t.Context(), sqlstore.PostgresOptions{URL: database, IdleTimeout: storetest.Idle, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close(context.Background()) })
	store, err := redisstore.Open(t.Context(), redisstore.Options{URL: redis, Record: db, Key: []byte("the key of all replicas"), Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return &replica{db, store}
}

// nodes is the URL of several nodes.
func nodes(addresses []string) string {
	return "redis://" + addresses[0] + "?addr=" + strings.Join(addresses[1:], "&addr=")
}

func TestStoreOnOneRedis(t *testing.T) {
	storetest.Run(t, func(t *testing.T) authority.Stores {
		return open(t, enginetest.Postgres(t), enginetest.Redis(t)).stores()
	})
}

func TestStoreOnACluster(t *testing.T) {
	cluster := enginetest.StartRedisCluster(t, 0)
	storetest.Run(t, func(t *testing.T) authority.Stores {
		return open(t, enginetest.Postgres(t), nodes(cluster.Addrs())).stores()
	})
}

func TestStoreBehindSentinels(t *testing.T) {
	sentinel := enginetest.StartRedisSentinel(t)
	storetest.Run(t, func(t *testing.T) authority.Stores {
		return open(t, enginetest.Postgres(t), nodes(sentinel.Addrs())+"&master_set=mymaster").stores()
	})
}
