package redisstate_test

import (
	"testing"

	"github.com/latchkey/latchkey/internal/enginetest"
	"github.com/latchkey/latchkey/keeper"
	"github.com/latchkey/latchkey/keeper/internal/replicatest"
	"github.com/latchkey/latchkey/keeper/redisstate"
)

func TestKeepersOfManyHosts(t *testing.T) {
	t.Parallel()
	replicatest.Keepers(t, func(t *testing.T) replicatest.Place {
		address := enginetest.StartRedis(t).Addr()
		return replicatest.Place{Name: address, Open: func(t *testing.T) keeper.State { return open(t, at(address)) }}
	})
}

func TestKeepersOfManyHostsInACluster(t *testing.T) {
	t.Parallel()
	replicatest.Keepers(t, func(t *testing.T) replicatest.Place {
		option := at(enginetest.StartRedisCluster(t, 0).Addrs()...)
		return replicatest.Place{Open: func(t *testing.T) keeper.State { return open(t, option) }}
	})
}

func TestStoreConforms(t *testing.T) {
	client := connect(t, at(enginetest.StartRedis(t).Addr()))
	replicatest.Store(t, redisstate.NewStore(client, "zbeeblebrox"), func() { do(t, client, "HSET", "until", "0") })
}
