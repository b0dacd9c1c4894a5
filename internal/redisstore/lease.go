package redisstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/latchkey/latchkey/internal/authority"
)

// slotsOfCluster is how many hash slots a Redis Cluster has.
const slotsOfCluster = 16384

// lease is the right to rely on copies of one revision.
type lease struct {
	asked    time.Time // what Redis had to tell before that was heard
	epoch    int64
	revision string // the name of copies, in Redis and in memory
}

var errNoRedis = errors.New("redis does not answer")

// leased answers a lease that holds, or nil. It never waits: one that grows old is
// renewed in the background.
func (s *Store) leased() *lease {
	l := s.lease.Load()
	var age time.Duration
	if l != nil {
		age = time.Since(l.asked)
	}
	if (l == nil || age > authority.Lease/2) && s.behind.CompareAndSwap(false, true) {
		s.tasks.Go(func() {
			defer s.behind.Store(false)
			_, _ = s.renew(s.running, time.Now()) // it says by itself what is wrong
		})
	}
	if l == nil || age > authority.Lease || l.epoch != s.epoch.Load() {
		return nil
	}
	return l
}

// holds reports whether what was read under l may be relied on: that is, under the
// newest lease, if nothing has changed since.
func (s *Store) holds(l *lease) bool {
	now := s.lease.Load()
	return now.revision == l.revision && now.epoch == l.epoch && time.Since(now.asked) <= authority.Lease && s.epoch.Load() == l.epoch
}

// renew answers a lease that was asked for after the given time.
func (s *Store) renew(ctx context.Context, after time.Time) (*lease, error) {
	s.renewing.Lock()
	defer s.renewing.Unlock()
	epoch := s.epoch.Load()
	if l := s.lease.Load(); l != nil && l.epoch == epoch && l.asked.After(after) {
		return l, nil
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	l := &lease{asked: time.Now(), epoch: epoch}
	history, err := s.history(ctx)
	if err == nil {
		l.revision, err = s.record.CacheRevision(ctx, history)
	}
	if err == nil && s.epoch.Load() != epoch {
		err = errors.New("a connection was lost meanwhile")
	}
	if err != nil {
		s.say(false, err)
		return nil, err
	}
	s.say(true, nil)
	s.lease.Store(l)
	return l, nil
}

// say logs when Redis begins or ceases to be relied on.
func (s *Store) say(relied bool, err error) {
	if s.relied.Swap(relied) == relied || s.running.Err() != nil {
		return
	}
	if relied {
		s.log.Info("session checks are answered from redis")
		return
	}
	s.log.Warn("redis cannot be relied on; session checks are answered by the database until it can", "error", err)
}

// history names what all of Redis has come to know. Every node that holds sessions
// has to answer.
func (s *Store) history(ctx context.Context) (string, error) {
	client := s.client.Load()
	if client == nil {
		return "", errNoRedis
	}
	nodes := (*client).Nodes()
	inCluster := (*client).Mode() == rueidis.ClientModeCluster
	ctx, cancel := context.WithCancel(ctx) // who has not answered when it is enough is a replica
	defer cancel()
	answers := make(chan part, len(nodes))
	for _, node := range nodes {
		go func() { answers <- ask(ctx, node, inCluster) }()
	}
	var histories []string
	slots, fault := 0, errNoRedis
	for range nodes {
		switch p := <-answers; {
		case p.err != nil:
			fault = p.err
		case p.slots > 0:
			histories = append(histories, p.history)
			slots += p.slots
		}
		if slots == slotsOfCluster {
			slices.Sort(histories)
			return strings.Join(histories, " "), nil
		}
	}
	if slots > 0 {
		fault = fmt.Errorf("masters that hold %d of its %d slots answered; %w", slots, slotsOfCluster, fault)
	}
	return "", fault
}

// part is what one node knows.
type part struct {
	history string
	slots   int // that it holds, as it thinks; those of a single Redis are all
	err     error
}

// ask asks one node for its history. Since it is the connection that carries
// invalidations, too, all that the node had to tell before has arrived then.
func ask(ctx context.Context, node rueidis.Client, inCluster bool) (p part) {
	text, err := node.Do(ctx, node.B().Info().Section("replication").Build()).ToString()
	if err != nil {
		return part{err: err}
	}
	info := map[string]string{}
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		info[name] = value
	}
	if info["role"] != "master" {
		return part{}
	}
	p = part{history: info["master_replid"], slots: slotsOfCluster}
	if inCluster {
		p.slots, p.err = heldSlots(ctx, node)
	}
	if p.history == "" && p.err == nil {
		p.err = errors.New("redis does not tell its replication ID")
	}
	return p
}

// heldSlots counts the slots that a node says it holds itself.
func heldSlots(ctx context.Context, node rueidis.Client) (int, error) {
	id, err := node.Do(ctx, node.B().ClusterMyid().Build()).ToString()
	if err != nil {
		return 0, err
	}
	ranges, err := node.Do(ctx, node.B().ClusterSlots().Build()).ToArray()
	if err != nil {
		return 0, err
	}
	held := 0
	for _, r := range ranges {
		fields, err := r.ToArray()
		if err != nil || len(fields) < 3 {
			return 0, fmt.Errorf("redis describes its slots in an unknown way: %w", err)
		}
		first, err1 := fields[0].AsInt64()
		last, err2 := fields[1].AsInt64()
		master, err3 := fields[2].ToArray()
		if err := errors.Join(err1, err2, err3); err != nil || len(master) < 3 {
			return 0, fmt.Errorf("redis describes its slots in an unknown way: %w", err)
		}
		if of, err := master[2].ToString(); err == nil && of == id {
			held += int(last - first + 1)
		}
	}
	return held, nil
}
