package replicas_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/latchkey/latchkey/internal/enginetest"
	"github.com/latchkey/latchkey/latchtest"
)

// through is a URL with another host.
func through(t testing.TB, address, host string) string {
	t.Helper()
	u, err := url.Parse(address)
	must(t, err)
	u.Host = host
	return u.String()
}

// killReplica kills each replica in its turn.
func (w *world) killReplica() fault {
	turn := 0
	return fault{"a killed replica",
		func() { w.f.replicas[turn%len(w.f.replicas)].kill() },
		func() {
			must(w.t, w.f.replicas[turn%len(w.f.replicas)].start())
			turn++
		}}
}

// network is what may go wrong between replicas and an engine.
func network(name string, proxy *enginetest.Proxy) []fault {
	return []fault{
		{"a slow " + name, func() { proxy.Latency(200 * time.Millisecond) }, proxy.Heal},
		{"connections to " + name + " cut", func() { proxy.Cut(); proxy.Heal() }, func() {}},
		{"no connections to " + name, proxy.Cut, proxy.Heal},
	}
}

// TestSoakFaults has people use three replicas while everything goes wrong that can,
// and holds each answer to what one service would have said.
func TestSoakFaults(t *testing.T) {
	t.Parallel()
	rounds := choose(1, 5)
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		database := enginetest.StartPostgres(t)
		proxy := enginetest.StartProxy(t, database.Addr())
		w := newWorld(t, setup{database: through(t, database.URL(), proxy.Addr()), upstream: latchtest.NewServer(t).URL})
		w.endure(rounds, 0, append(network("PostgreSQL", proxy),
			w.killReplica(), fault{"a killed PostgreSQL", database.Kill, database.Start})...)
	})
	t.Run("redis", func(t *testing.T) {
		t.Parallel()
		faultsOfRedis(t, rounds, "--save", "")
	})
	t.Run("redis with a log", func(t *testing.T) {
		t.Parallel()
		if !soak {
			t.Skip("LATCHKEY_SOAK=1 has it")
		}
		faultsOfRedis(t, rounds, "--appendonly", "yes", "--appendfsync", "always")
	})
	t.Run("cluster", func(t *testing.T) {
		t.Parallel()
		database, cluster := enginetest.Postgres(t), enginetest.StartRedisCluster(t, 1)
		w := newWorld(t, setup{database: database, sessions: "redis://" + cluster.Addrs()[0] + "?addr=" + strings.Join(cluster.Addrs()[1:], "&addr=")})
		turn := 0
		w.endure(rounds, staleness, fault{"a killed master", func() {
			cluster.Masters()[turn%3].Kill()
			await(t, "the replica takes over", func() error { return hasRole(cluster.Replicas()[turn%3], "master") })
		}, func() {
			old, heir := cluster.Masters()[turn%3], cluster.Replicas()[turn%3]
			old.Start()
			await(t, "the former master follows", func() error { return hasRole(old, "slave") })
			if turn++; soak { // so that the next time it is killed it is a master
				heir.Kill()
				await(t, "the former master takes over again", func() error { return hasRole(old, "master") })
				heir.Start()
				await(t, "its replica follows", func() error { return hasRole(heir, "slave") })
			}
		}})
	})
	t.Run("a full pool", func(t *testing.T) {
		t.Parallel()
		database := enginetest.Postgres(t)
		w := newWorld(t, setup{database: database + "&pool_max_conns=4", sessions: enginetest.Redis(t)})
		w.endure(rounds, staleness, w.fullPool(database))
	})
	t.Run("no connections left", func(t *testing.T) {
		t.Parallel()
		if !soak {
			t.Skip("LATCHKEY_SOAK=1 has it")
		}
		database := enginetest.StartPostgres(t)
		proxy := enginetest.StartProxy(t, database.Addr())
		w := newWorld(t, setup{database: through(t, database.URL(), proxy.Addr())})
		var held []*pgx.Conn
		w.endure(rounds, 0, fault{"no connections left", func() {
			proxy.Cut()
			for n := 0; n < 210; n++ {
				conn, err := pgx.Connect(t.Context(), database.URL())
				if err != nil {
					break
				}
				held = append(held, conn)
			}
			proxy.Heal()
		}, func() {
			for _, conn := range held {
				_ = conn.Close(t.Context())
			}
			held = nil
		}})
	})
}

// fullPool has three of the four connections of each replica wait for rows that
// somebody else has locked.
func (w *world) fullPool(database string) fault {
	var tx pgx.Tx
	var conn *pgx.Conn
	var stuck sync.WaitGroup
	turn := 0
	return fault{"a full pool", func() {
		var err error
		conn, err = pgx.Connect(w.t.Context(), database)
		must(w.t, err)
		turn++
		for i := range 3 {
			p := w.newPerson(fmt.Sprint("stuck", turn, ".", i))
			defer func() {
				for r := range w.f.replicas {
					stuck.Go(func() { // its answer comes when the row is free, or a time is over
						w.h.user(p.name, act{kind: actLogIn, password: p.version}, w.known(w.f.logIn(r, p.name, p.password)))
					})
				}
			}()
		}
		tx, err = conn.Begin(w.t.Context())
		must(w.t, err)
		_, err = tx.Exec(w.t.Context(), `SELECT * FROM strikes JOIN users USING (strike_key) WHERE name LIKE 'stuck%' FOR UPDATE OF strikes`)
		must(w.t, err)
	}, func() {
		must(w.t, tx.Rollback(w.t.Context()))
		must(w.t, conn.Close(w.t.Context()))
		stuck.Wait()
	}}
}

// faultsOfRedis are those of one Redis that keeps what it has in a file, or a log.
func faultsOfRedis(t *testing.T, rounds int, arguments ...string) {
	directory, database := t.TempDir(), enginetest.StartPostgres(t)
	redis := enginetest.StartRedis(t, append(arguments, "--dir", directory)...)
	proxy := enginetest.StartProxy(t, redis.Addr())
	ways := enginetest.StartProxy(t, database.Addr())
	w := newWorld(t, setup{database: through(t, database.URL(), ways.Addr()), sessions: through(t, redis.URL(), proxy.Addr()), upstream: latchtest.NewServer(t).URL})
	faults := append(network("Redis", proxy), fault{"a killed Redis", redis.Kill, redis.Start}, w.oldRedis(redis, directory))
	if soak { // these are in "postgres" and in TestCrashReplicas, too
		faults = append(append(faults, network("PostgreSQL", ways)...), w.killReplica())
	}
	w.endure(rounds, staleness, append(faults, fault{"a killed PostgreSQL", database.Kill, database.Start})...)
}

// oldRedis ends sessions, and has Redis come back as it was before.
func (w *world) oldRedis(redis *enginetest.RedisServer, directory string) fault {
	var victims []string
	turn := 0
	return fault{"an old Redis", func() {
		// These have copies everywhere when the old state is put away, and end after.
		turn++
		p := w.newPerson(fmt.Sprint("restored", turn))
		for range choose(8, 20) {
			w.logIn(p, w.f.anywhere())
		}
		victims = p.sessions
		for range 3 {
			for r := range w.f.replicas {
				for _, token := range victims {
					_ = w.check(r, token)
				}
			}
		}
		_, err := ask(redis, "SAVE")
		must(w.t, err)
		kept := w.t.TempDir()
		must(w.t, os.CopyFS(filepath.Join(kept, "old"), os.DirFS(directory)))
		for _, token := range victims {
			if a := w.known(w.f.logOut(w.f.anywhere(), token)); a.outcome == ok {
				w.settle(token, over)
				w.h.session(token, actEnd, a)
			} else {
				w.t.Errorf("a logout: %v", a)
			}
		}
		redis.Kill()
		must(w.t, os.RemoveAll(directory))
		must(w.t, os.CopyFS(directory, os.DirFS(filepath.Join(kept, "old"))))
		redis.Start()
		if n, err := ask(redis, "DBSIZE"); err != nil || n == ":0" {
			w.t.Errorf("the old state was not restored: %s, %v", n, err)
		}
	}, func() {
		for range 3 {
			for r := range w.f.replicas {
				for _, token := range victims {
					_ = w.check(r, token)
				}
			}
		}
	}}
}

// TestCrashRedisComesBackOld restores Redis while nobody else ends a session, which
// would have copies from before count no more by itself.
func TestCrashRedisComesBackOld(t *testing.T) {
	t.Parallel()
	for name, arguments := range map[string][]string{
		"a dump": {"--save", ""},
		"a log":  {"--appendonly", "yes", "--appendfsync", "always"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			directory, rounds := t.TempDir(), choose(1, 50)
			redis := enginetest.StartRedis(t, append(arguments, "--dir", directory)...)
			w := newWorld(t, setup{database: enginetest.Postgres(t), sessions: redis.URL()})
			old := w.oldRedis(redis, directory)
			for range rounds {
				old.inject()
				old.heal()
				await(t, "copies are relied on again", func() error {
					before := w.f.copies(1)
					for range 3 {
						if a := w.check(1, w.anchor); a.outcome != ok {
							return a
						}
					}
					if w.f.copies(1) == before {
						return errors.New("they are not")
					}
					return nil
				})
				old.heal()
			}
			w.finish(staleness)
		})
	}
}

// ask sends one command, and answers what comes.
func ask(redis *enginetest.RedisServer, command string) (string, error) {
	conn, err := net.DialTimeout("tcp", redis.Addr(), time.Second)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(conn, command+"\r\nQUIT\r\n"); err != nil {
		return "", err
	}
	text, err := io.ReadAll(conn)
	return strings.TrimSuffix(strings.TrimSpace(string(text)), "\r\n+OK"), err
}

func hasRole(redis *enginetest.RedisServer, role string) error {
	info, err := ask(redis, "INFO replication")
	// One that does not have its master's data yet would not take over.
	if err == nil && (!strings.Contains(info, "role:"+role) || role == "slave" && !strings.Contains(info, "master_link_status:up")) {
		err = fmt.Errorf("it is not a %s: %s", role, info)
	}
	return err
}

// TestCrashReplicas kills replicas again and again while they are used.
func TestCrashReplicas(t *testing.T) {
	t.Parallel()
	for _, with := range []string{"postgres", "redis"} {
		t.Run(with, func(t *testing.T) {
			t.Parallel()
			s, stale := setup{database: enginetest.Postgres(t)}, time.Duration(0)
			if with == "redis" {
				s.sessions, stale = enginetest.Redis(t), staleness
			}
			w := newWorld(t, s)
			w.endure(choose(3, 50), stale, w.killReplica())
		})
	}
}
