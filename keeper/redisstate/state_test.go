package redisstate_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/internal/enginetest"
	"github.com/latchkey/latchkey/keeper"
	"github.com/latchkey/latchkey/keeper/redisstate"
	"github.com/latchkey/latchkey/keeper/statetest"
)

func TestStateConforms(t *testing.T) {
	statetest.Run(t, func(t *testing.T) statetest.Place {
		return place(t, at(enginetest.StartRedis(t).Addr()))
	})
}

func TestStateConformsInACluster(t *testing.T) {
	cluster := at(enginetest.StartRedisCluster(t, 0).Addrs()...)
	byHand := connect(t, cluster)
	statetest.Run(t, func(t *testing.T) statetest.Place {
		do(t, byHand, "DEL")
		return place(t, cluster)
	})
}

func TestStateConformsBehindSentinel(t *testing.T) {
	option := behind(enginetest.StartRedisSentinel(t))
	byHand := connect(t, option)
	statetest.Run(t, func(t *testing.T) statetest.Place {
		do(t, byHand, "DEL")
		return place(t, option)
	})
}

func behind(g *enginetest.RedisSentinel) rueidis.ClientOption {
	option := at(g.Addrs()...)
	option.Sentinel = rueidis.SentinelOption{MasterSet: enginetest.RedisMasterName}
	return option
}

func place(t *testing.T, option rueidis.ClientOption) statetest.Place {
	byHand := connect(t, option)
	set := func(value string) { do(t, byHand, "HSET", "sealed", value) }
	sealed := func() string { return do(t, byHand, "HGET", "sealed") }
	ways := []func(){
		func() { text := sealed(); set(text[:len(text)-1] + string([]byte{^text[len(text)-1]})) },
		func() { set(sealed()[:20]) },
		func() { set("\x02" + sealed()) },
		func() { set("") },
		func() { do(t, byHand, "DEL"); do(t, byHand, "SET", "of another program") },
	}
	return statetest.Place{
		Open: func() keeper.State { return open(t, option) },
		Lose: func() { do(t, byHand, "HSET", "until", "0") },
		Spoil: func() bool {
			if len(ways) == 0 {
				return false
			}
			ways[0]()
			ways = ways[1:]
			return true
		},
	}
}

// A Redis that writes ahead, as it must be run, and dies.
func TestWhatIsSavedSurvivesTheServer(t *testing.T) {
	server := enginetest.StartRedis(t, "--appendonly", "yes", "--appendfsync", "always")
	state := openFor(t, at(server.Addr()), 3*time.Second)
	lease := acquire(t, state)
	save(t, lease, "before")
	at := time.Now().Truncate(time.Microsecond)
	if err := state.Touch(t.Context(), at); err != nil {
		t.Fatal(err)
	}
	server.Kill()
	if _, err := state.Load(t.Context()); err == nil {
		t.Error("Load succeeded without a server")
	}
	if err := lease.Save(t.Context(), "in the meantime"); err == nil || errors.Is(err, keeper.ErrLeaseLost) {
		t.Errorf("Save while there is no server: %v", err)
	}
	server.Start()
	saved, err := state.Load(t.Context())
	if err != nil || saved.Data.Reveal() != "before" || !saved.LastUse.Equal(at) {
		t.Errorf("after a restart: %q, used at %v, %v", saved.Data.Reveal(), saved.LastUse, err)
	}
	save(t, lease, "after") // no other holder got the lease
	if err := lease.Release(t.Context()); err != nil {
		t.Error(err)
	}
}

// A holder whose network is gone, and comes back.
func TestOneThatWasCutOffChangesNothingWhenItIsBack(t *testing.T) {
	server := enginetest.StartRedis(t)
	proxy := enginetest.StartProxy(t, server.Addr())
	late, other := openFor(t, at(proxy.Addr()), time.Second), openFor(t, at(server.Addr()), time.Second)
	lease := acquire(t, late)
	save(t, lease, "before")
	proxy.Stall()
	next := acquire(t, other)
	save(t, next, "next")
	if err := lease.Save(t.Context(), "late"); err == nil {
		t.Error("Save succeeded without a server")
	}
	proxy.Heal()
	until(t, func() error { _, err := late.Load(t.Context()); return err })
	if err := lease.Save(t.Context(), "late"); !errors.Is(err, keeper.ErrLeaseLost) {
		t.Errorf("Save under a lost lease: %v", err)
	}
	if err := lease.Release(t.Context()); err != nil {
		t.Error(err)
	}
	save(t, next, "next again")
	if saved, err := late.Load(t.Context()); err != nil || saved.Data.Reveal() != "next again" {
		t.Errorf("Load: %q, %v", saved.Data.Reveal(), err)
	}
	if err := next.Release(t.Context()); err != nil {
		t.Error(err)
	}
}

// The clock of Redis is put back while a holder has the lease, and the holder dies:
// the lease ends as if nothing had been done to the clock.
func TestALeaseThatEndsInTheFutureIsNoLongerThanOthers(t *testing.T) {
	option := at(enginetest.StartRedis(t).Addr())
	byHand, state := connect(t, option), openFor(t, option, time.Second)
	for _, ahead := range []time.Duration{time.Minute, 24 * time.Hour, 20 * 365 * 24 * time.Hour} {
		do(t, byHand, "HSET", "holder", "dead", "until", fmt.Sprint(time.Now().Add(ahead).UnixMilli()))
		begun := time.Now()
		lease := acquire(t, state)
		if took := time.Since(begun); took < 900*time.Millisecond {
			t.Errorf("%v ahead: the next one has the lease after %v, though the holder may live", ahead, took)
		}
		if err := lease.Release(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// The replica that takes over has what was confirmed, if Config.Replicas asks for it.
func TestWhatReplicasConfirmedSurvivesTheMaster(t *testing.T) {
	group := enginetest.StartRedisSentinel(t)
	confirmed := func(replicas int) *redisstate.State {
		state, err := redisstate.NewWithTTL(t.Context(), connect(t, behind(group)),
			redisstate.Config{Name: "zbeeblebrox", Key: key, Replicas: replicas}, 3*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		return state
	}
	tooMany := acquire(t, confirmed(2))
	if err := tooMany.Save(t.Context(), "with two"); err == nil || !strings.Contains(err.Error(), "1 of the 2 replicas") {
		t.Errorf("saving with one replica of two: %v", err)
	}
	if err := tooMany.Release(t.Context()); err != nil {
		t.Error(err)
	}
	state := confirmed(1)
	lease := acquire(t, state)
	save(t, lease, "with one")
	group.Master().Kill()
	until(t, func() error {
		saved, err := state.Load(t.Context())
		if err == nil && saved.Data.Reveal() != "with one" {
			t.Fatalf("the replica has %q", saved.Data.Reveal())
		}
		return err
	})
	if err := lease.Save(t.Context(), "with none"); err == nil || errors.Is(err, keeper.ErrLeaseLost) {
		t.Errorf("saving with no replica of one: %v", err)
	}
	_ = lease.Release(t.Context())
}

func TestClusterFailsOver(t *testing.T) {
	cluster := enginetest.StartRedisCluster(t, 1)
	state, err := redisstate.New(t.Context(), connect(t, at(cluster.Addrs()...)),
		redisstate.Config{Name: "zbeeblebrox", Key: key, Replicas: 1})
	if err != nil {
		t.Fatal(err)
	}
	lease := acquire(t, state)
	save(t, lease, "before")
	for _, master := range cluster.Masters() {
		if strings.Contains(master.Addr(), owner(t, cluster)) {
			master.Kill()
			break
		}
	}
	until(t, func() error {
		saved, err := state.Load(t.Context())
		if err == nil && saved.Data.Reveal() != "before" {
			t.Fatalf("the replica has %q", saved.Data.Reveal())
		}
		return err
	})
	if err := lease.Release(t.Context()); err != nil {
		t.Error(err)
	}
}

// owner is the address of the master that has the key.
func owner(t *testing.T, cluster *enginetest.RedisCluster) string {
	t.Helper()
	for _, address := range cluster.Addrs() {
		option := at(address)
		option.ForceSingleClient = true
		client := connect(t, option)
		if client.Do(t.Context(), client.B().Hlen().Key(redisKey).Build()).Error() == nil {
			return address
		}
	}
	t.Fatal("no master has the key")
	return ""
}

func TestTheKeyAndTheNameMustFit(t *testing.T) {
	option := at(enginetest.StartRedis(t).Addr())
	state := open(t, option)
	lease := acquire(t, state)
	save(t, lease, "secret")
	if err := lease.Release(t.Context()); err != nil {
		t.Error(err)
	}
	client := connect(t, option)
	try := func(config redisstate.Config) error {
		_, err := redisstate.New(t.Context(), client, config)
		return err
	}
	other := []byte("another key of the tests, as long")
	if err := try(redisstate.Config{Name: "zbeeblebrox", Key: other}); err == nil ||
		!strings.Contains(hintOf(err), "DEL latchkey:keeper:") {
		t.Errorf("with another key: %v, want an error that says what to do", err)
	}
	if err := try(redisstate.Config{Name: "zoe", Key: key}); err != nil {
		t.Errorf("another state: %v", err)
	}
	copied := client.B().Copy().Source(redisKey).Destination("latchkey:keeper:zoe").Replace().Build()
	if err := client.Do(t.Context(), copied).Error(); err != nil {
		t.Fatal(err)
	}
	if err := try(redisstate.Config{Name: "zoe", Key: key}); err == nil {
		t.Error("one state is another under its name")
	}
	for _, config := range []redisstate.Config{
		{}, {Name: "zoe", Key: key[:31]}, {Key: key}, {Name: strings.Repeat("n", 201), Key: key}, {Name: "\xff", Key: key},
		{Name: "zoe", Key: key, Replicas: -1},
	} {
		if err := try(config); err == nil {
			t.Errorf("%v is accepted", config)
		}
	}
	config := redisstate.Config{Name: "zoe", Key: key}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		if text := fmt.Sprintf(verb+verb+verb, config, state, &config); strings.Contains(text, string(key)) ||
			strings.Contains(text, fmt.Sprintf("%x", key)) ||
			strings.Contains(text, fmt.Sprintf("%d", key)) || !strings.Contains(text, "zoe") {
			t.Errorf("%s shows %s", verb, text)
		}
	}
}

func openFor(t *testing.T, option rueidis.ClientOption, ttl time.Duration) *redisstate.State {
	t.Helper()
	state, err := redisstate.NewWithTTL(t.Context(), connect(t, option), config, ttl)
	if err != nil {
		t.Fatal(err)
	}
	return state
}

func acquire(t *testing.T, state keeper.State) keeper.Lease {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	lease, err := state.Acquire(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return lease
}

func save(t *testing.T, lease keeper.Lease, data latchkey.Secret) {
	t.Helper()
	if err := lease.Save(t.Context(), data); err != nil {
		t.Fatal(err)
	}
}

// until tries for a minute until there is no error.
func until(t *testing.T, try func() error) {
	t.Helper()
	deadline := time.After(time.Minute)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for err := try(); err != nil; err = try() {
		select {
		case <-deadline:
			t.Fatal(err)
		case <-tick.C:
		}
	}
}

// hintOf returns the advice that err has.
func hintOf(err error) string {
	var hinted interface{ Hint() string }
	if errors.As(err, &hinted) {
		return hinted.Hint()
	}
	return ""
}
