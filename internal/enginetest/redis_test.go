package enginetest_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/redis/rueidis"

	"github.com/latchkey/latchkey/internal/enginetest"
)

func client(t *testing.T, option rueidis.ClientOption) rueidis.Client {
	t.Helper()
	option.DisableCache = true
	c, err := rueidis.NewClient(option)
	must(t, err)
	t.Cleanup(c.Close)
	return c
}

func set(ctx context.Context, c rueidis.Client, key, value string) error {
	return c.Do(ctx, c.B().Set().Key(key).Value(value).Build()).Error()
}

func get(ctx context.Context, c rueidis.Client, key string) (string, error) {
	return c.Do(ctx, c.B().Get().Key(key).Build()).ToString()
}

func TestEachTestGetsAnEmptyRedis(t *testing.T) {
	for range 2 {
		t.Run("a test", func(t *testing.T) {
			option, err := rueidis.ParseURL(enginetest.Redis(t))
			must(t, err)
			c := client(t, option)
			n, err := c.Do(soon(t), c.B().Dbsize().Build()).AsInt64()
			must(t, err)
			equal(t, "number of keys", n, 0)
			must(t, set(soon(t), c, "k", "v"))
		})
	}
}

func TestRedisKeepsDataIfAsked(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		arguments []string
		kept      string
	}{
		{nil, ""},
		{[]string{"--appendonly", "yes", "--appendfsync", "always"}, "v"},
	} {
		s := enginetest.StartRedis(t, test.arguments...)
		address := s.Addr()
		c := client(t, rueidis.ClientOption{InitAddress: []string{s.Addr()}, DisableRetry: true})
		must(t, set(soon(t), c, "k", "v"))
		s.Kill()
		if _, err := get(soon(t), c, "k"); err == nil {
			t.Fatal("a killed server responds")
		}
		s.Start()
		equal(t, "the address", s.Addr(), address)
		var value string
		eventually(t, "it responds again", func(ctx context.Context) (err error) {
			value, err = get(ctx, c, "k")
			if rueidis.IsRedisNil(err) {
				return nil
			}
			return err
		})
		equal(t, "the value", value, test.kept)
	}
}

func TestRedisClusterFailsOver(t *testing.T) {
	t.Parallel()
	cluster := enginetest.StartRedisCluster(t, 1)
	equal(t, "number of masters", len(cluster.Masters()), 3)
	equal(t, "number of replicas", len(cluster.Replicas()), 3)
	c := client(t, rueidis.ClientOption{InitAddress: cluster.Addrs()})
	const keys = 50 // enough for each of three masters
	for i := range keys {
		must(t, set(soon(t), c, fmt.Sprint("k", i), fmt.Sprint(i)))
	}
	for _, master := range cluster.Masters() {
		one := client(t, rueidis.ClientOption{InitAddress: []string{master.Addr()}, ForceSingleClient: true})
		n, err := one.Do(soon(t), one.B().Dbsize().Build()).AsInt64()
		must(t, err)
		if n == 0 {
			t.Errorf("%s has no keys", master.Addr())
		}
	}

	cluster.Masters()[0].Kill()
	eventually(t, "every key is written", func(ctx context.Context) error {
		for i := range keys {
			if err := set(ctx, c, fmt.Sprint("k", i), "again"); err != nil {
				return err
			}
		}
		return nil
	})
	cluster.Masters()[0].Start()
	for i := range keys {
		value, err := get(soon(t), c, fmt.Sprint("k", i))
		must(t, err)
		equal(t, "the value", value, "again")
	}
}

func TestRedisClusterWithoutReplicas(t *testing.T) {
	t.Parallel()
	cluster := enginetest.StartRedisCluster(t, 0)
	c := client(t, rueidis.ClientOption{InitAddress: cluster.Addrs()})
	for i := range 10 {
		must(t, set(soon(t), c, fmt.Sprint("k", i), "v"))
	}
}

func TestRedisSentinelsPromoteAReplica(t *testing.T) {
	t.Parallel()
	group := enginetest.StartRedisSentinel(t)
	c := client(t, rueidis.ClientOption{InitAddress: group.Addrs(),
		Sentinel: rueidis.SentinelOption{MasterSet: enginetest.RedisMasterName}})
	must(t, set(soon(t), c, "k", "v"))
	group.Master().Kill()
	eventually(t, "the replica has taken over", func(ctx context.Context) error { return set(ctx, c, "k", "again") })
	one := client(t, rueidis.ClientOption{InitAddress: []string{group.Replica().Addr()}, ForceSingleClient: true})
	value, err := get(soon(t), one, "k")
	must(t, err)
	equal(t, "the value of the replica", value, "again")
}
