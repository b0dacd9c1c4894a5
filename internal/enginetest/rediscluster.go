package enginetest

import (
	"errors"
	"strconv"
	"strings"
	"testing"
)

// clusterMasters is the minimum for a cluster: two of three are a majority.
const clusterMasters = 3

// slots is the number of hash slots of a cluster.
const slots = 16384

// RedisCluster is a Redis cluster that only one test uses.
type RedisCluster struct{ masters, replicas []*RedisServer }

// StartRedisCluster starts a cluster of three masters with this many replicas each. It ends with
// the test. A master that is silent for a second counts as failed, and its replica takes over
// one or two seconds later.
func StartRedisCluster(t testing.TB, replicas int) *RedisCluster {
	t.Helper()
	start := func(n int) (servers []*RedisServer) {
		for range n {
			servers = append(servers, startRedis(t, busOffset, "--cluster-enabled", "yes",
				"--cluster-node-timeout", "1000", "--repl-diskless-sync-delay", "0"))
		}
		return servers
	}
	c := &RedisCluster{masters: start(clusterMasters)}
	c.replicas = start(clusterMasters * replicas)
	await(t, "the cluster is formed", c.form)
	await(t, "the cluster is ready", c.ready)
	return c
}

// Addrs returns the addresses of the initial masters.
func (c *RedisCluster) Addrs() (addresses []string) {
	for _, s := range c.masters {
		addresses = append(addresses, s.Addr())
	}
	return addresses
}

// URL returns a URL with all of Addrs.
func (c *RedisCluster) URL() string {
	return "redis://" + strings.Join(c.Addrs(), ",") + "?cluster=true"
}

// Masters returns the initial masters. When one is killed, its replica becomes a master, and it
// comes back as a replica.
func (c *RedisCluster) Masters() []*RedisServer { return c.masters }

// Replicas returns the initial replicas: first one for each of the three masters in their order,
// then the next one for each.
func (c *RedisCluster) Replicas() []*RedisServer { return c.replicas }

func (c *RedisCluster) all() []*RedisServer {
	return append(append([]*RedisServer(nil), c.masters...), c.replicas...)
}

// form introduces the nodes to each other, and assigns each its slots or its master. It may be
// called repeatedly.
func (c *RedisCluster) form() error {
	var ids []string
	for i, s := range c.all() {
		id, err := s.do("CLUSTER", "MYID")
		if err != nil {
			return err
		}
		ids = append(ids, id)
		// Masters with the same epoch would have to resolve the conflict first.
		_, _ = s.do("CLUSTER", "SET-CONFIG-EPOCH", strconv.Itoa(i+1))
	}
	for i, s := range c.masters {
		add := []string{"CLUSTER", "ADDSLOTS"}
		for slot := i * slots / clusterMasters; slot < (i+1)*slots/clusterMasters; slot++ {
			add = append(add, strconv.Itoa(slot))
		}
		if _, err := s.do(add...); err != nil && !strings.Contains(err.Error(), "already busy") {
			return err
		}
	}
	for _, from := range c.all() {
		known, err := from.do("CLUSTER", "NODES")
		if err != nil {
			return err
		}
		for _, to := range c.all() {
			if strings.Contains(known, to.Addr()+"@") {
				continue
			}
			if _, err := from.do("CLUSTER", "MEET", "127.0.0.1", strconv.Itoa(to.port)); err != nil {
				return err
			}
		}
	}
	for i, s := range c.replicas {
		if _, err := s.do("CLUSTER", "REPLICATE", ids[i%clusterMasters]); err != nil {
			return err
		}
	}
	return nil
}

// ready returns nil if all nodes know each other, every slot is served, and every replica follows.
func (c *RedisCluster) ready() error {
	for _, s := range c.all() {
		info, err := s.do("CLUSTER", "INFO")
		if err != nil {
			return err
		}
		nodes, err := s.do("CLUSTER", "NODES")
		if err != nil {
			return err
		}
		if field(info, "cluster_state") != "ok" || strings.Contains(nodes, "handshake") ||
			strings.Count(nodes, "\n") != len(c.all()) || strings.Count(nodes, "slave ") != len(c.replicas) {
			return errors.New(info + nodes)
		}
	}
	for _, s := range c.replicas {
		if err := s.follows(); err != nil {
			return err
		}
	}
	return nil
}

// follows returns nil if a replica is connected to its master.
func (s *RedisServer) follows() error {
	info, err := s.do("INFO", "replication")
	if err == nil && field(info, "master_link_status") != "up" {
		err = errors.New(info)
	}
	return err
}
