package enginetest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// RedisMasterName is the name of the master in the sentinels.
const RedisMasterName = "mymaster"

const sentinels = 3

// RedisSentinel is a Redis with a replica and three sentinels that only one test uses.
type RedisSentinel struct {
	master, replica *RedisServer
	sentinels       []*RedisServer
}

// StartRedisSentinel starts a Redis, a replica, and three sentinels, which end with the test.
// When two sentinels have received nothing from the master for a second, they promote the
// replica.
func StartRedisSentinel(t testing.TB) *RedisSentinel {
	t.Helper()
	g := &RedisSentinel{master: StartRedis(t, "--repl-diskless-sync-delay", "0")}
	g.replica = StartRedis(t, "--repl-diskless-sync-delay", "0",
		"--replicaof", "127.0.0.1 "+strconv.Itoa(g.master.port))
	await(t, "the replica follows", g.replica.follows)
	k := redisKind("redis-sentinel", func(directory string, port int) ([]string, error) {
		path := filepath.Join(directory, "sentinel.conf") // the sentinel rewrites it
		return []string{path}, os.WriteFile(path, fmt.Appendf(nil, `port %d
bind 127.0.0.1
dir %s
sentinel monitor %s 127.0.0.1 %d 2
sentinel down-after-milliseconds %[3]s 1000
sentinel failover-timeout %[3]s 3000
`, port, directory, RedisMasterName, g.master.port), 0o600)
	})
	for range sentinels {
		g.sentinels = append(g.sentinels, &RedisServer{startServer(t, k, redisDirectory(t, k.name))})
	}
	await(t, "the sentinels know each other", g.ready)
	return g
}

// Addrs returns the addresses of the sentinels.
func (g *RedisSentinel) Addrs() (addresses []string) {
	for _, s := range g.sentinels {
		addresses = append(addresses, s.Addr())
	}
	return addresses
}

// Master returns the initial master.
func (g *RedisSentinel) Master() *RedisServer { return g.master }

// Replica returns the initial replica.
func (g *RedisSentinel) Replica() *RedisServer { return g.replica }

// Sentinels returns the sentinels, which may be killed as well.
func (g *RedisSentinel) Sentinels() []*RedisServer { return g.sentinels }

// ready returns nil if each sentinel knows the replica and the other sentinels.
func (g *RedisSentinel) ready() error {
	for _, s := range g.sentinels {
		info, err := s.do("INFO", "sentinel")
		if err != nil {
			return err
		}
		if known := field(info, "master0"); !strings.Contains(known, "status=ok") ||
			!strings.HasSuffix(known, fmt.Sprintf("slaves=1,sentinels=%d", sentinels)) {
			return errors.New(info)
		}
	}
	return nil
}
