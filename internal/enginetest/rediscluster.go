package enginetest

import (
	"errors"
	"strconv"
	"strings"
	"testing"
)

// clusterMasters is the least that a cluster can do with: two of three agree.
const clusterMasters = 3

// slots is how many there are in every cluster.
const slots = 16384

// RedisCluster is a Redis cluster of the test's own.
type RedisCluster struct{ masters, replicas []*RedisServer }

// StartRedisCluster starts three masters, with that many replicas for each, as one
// cluster that ends with the test. A master that is silent for a second is given up,
// and after another or two its replica takes over.
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
	await(t, "the cluster answers", c.ready)
	return c
}

// Addrs is where those listen that were masters in the beginning.
func (c *RedisCluster) Addrs() (addresses []string) {
	for _, s := range c.masters {
		addresses = append(addresses, s.Addr())
	}
	return addresses
}

// URL names all of Addrs.
func (c *RedisCluster) URL() string {
	return "redis://" + strings.Join(c.Addrs(), ",") + "?cluster=true"
}

// Masters are those that were masters in the beginning. Once one was killed its replica
// is, and it comes back as a replica.
func (c *RedisCluster) Masters() []*RedisServer { return c.masters }

// Replicas are those that were replicas in the beginning: the first three those of the
// three masters, in their order, and so on.
func (c *RedisCluster) Replicas() []*RedisServer { return c.replicas }

func (c *RedisCluster) all() []*RedisServer {
	return append(append([]*RedisServer(nil), c.masters...), c.replicas...)
}

// form has the servers know each other, and gives each its slots or its master. What
// is done already does no harm when it is done again.
func (c *RedisCluster) form() error {
	var ids []string
	for i, s := range c.all() {
		id, err := s.do("CLUSTER", "MYID")
		if err != nil {
			return err
		}
		ids = append(ids, id)
		// Masters with the same epoch would have to settle first who is the newer.
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

// ready says whether all know all, every slot is served, and every replica follows.
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

// follows says whether a replica has all that its master has.
func (s *RedisServer) follows() error {
	info, err := s.do("INFO", "replication")
	if err == nil && field(info, "master_link_status") != "up" {
		err = errors.New(info)
	}
	return err
}
