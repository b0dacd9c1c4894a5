package replicas_test

import (
	"fmt"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/latchkey/latchkey/internal/enginetest"
	"github.com/latchkey/latchkey/latchtest"
)

// withHost returns a URL with another host.
func withHost(t testing.TB, address, host string) string {
	t.Helper()
	u, err := url.Parse(address)
	must(t, err)
	u.Host = host
	return u.String()
}

// killReplica returns a fault that kills the replicas in turn.
func (w *world) killReplica() fault {
	turn := 0
	return fault{"a killed replica",
		func() { w.f.replicas[turn%len(w.f.replicas)].kill() },
		func() {
			must(w.t, w.f.replicas[turn%len(w.f.replicas)].start())
			turn++
		}}
}

// network returns the faults of the network between the replicas and a server.
func network(name string, proxy *enginetest.Proxy) []fault {
	return []fault{
		{"slow connections to " + name, func() { proxy.Latency(200 * time.Millisecond) }, proxy.Heal},
		{"connections to " + name + " cut", func() { proxy.Cut(); proxy.Heal() }, func() {}},
		{"no connections to " + name, proxy.Cut, proxy.Heal},
	}
}

// TestSoakFaults uses three replicas during all kinds of faults, and checks that the responses are
// those of a single service.
func TestSoakFaults(t *testing.T) {
	t.Parallel()
	rounds := choose(1, 5)
	t.Run("cached", func(t *testing.T) {
		t.Parallel()
		database := enginetest.StartPostgres(t)
		proxy, notices := enginetest.StartProxy(t, database.Addr()), enginetest.StartProxy(t, database.Addr())
		w := newWorld(t, setup{database: withHost(t, database.URL(), proxy.Addr()),
			listen: withHost(t, database.URL(), notices.Addr()), upstream: latchtest.NewServer(t).URL})
		faults := append(network("PostgreSQL", proxy), network("the notifications", notices)...)
		w.endure(rounds, staleness, append(faults,
			fault{"stalled notifications", notices.Stall, notices.Heal},
			w.killReplica(), w.stopReplica(), fault{"a killed PostgreSQL", database.Kill, database.Start})...)
	})
	t.Run("behind a pooler", func(t *testing.T) {
		t.Parallel()
		database := enginetest.StartPostgres(t)
		proxy := enginetest.StartProxy(t, database.Addr())
		pooled := enginetest.StartPgBouncer(t, withHost(t, database.URL(), proxy.Addr()))
		w := newWorld(t, setup{database: pooled})
		faults := append(network("PostgreSQL", proxy), fault{"a killed PostgreSQL", database.Kill, database.Start})
		w.endure(rounds, 0, faults...)
	})
	t.Run("a full pool", func(t *testing.T) {
		t.Parallel()
		database := enginetest.Postgres(t)
		w := newWorld(t, setup{database: database + "&pool_max_conns=4"})
		w.endure(rounds, staleness, w.fullPool(database))
	})
	t.Run("no connections left", func(t *testing.T) {
		t.Parallel()
		if !soak {
			t.Skip("only with LATCHKEY_SOAK=1")
		}
		database := enginetest.StartPostgres(t)
		proxy := enginetest.StartProxy(t, database.Addr())
		w := newWorld(t, setup{database: withHost(t, database.URL(), proxy.Addr())})
		var held []*pgx.Conn
		w.endure(rounds, staleness, fault{"no connections left", func() {
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

// fullPool returns a fault in which three of the four connections of each replica wait for locked
// rows.
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
					stuck.Go(func() { // until the row is unlocked, or a timeout
						a := w.known(w.f.logIn(r, p.name, p.password))
						w.h.user(p.name, act{kind: actLogIn, password: p.version}, a)
					})
				}
			}()
		}
		tx, err = conn.Begin(w.t.Context())
		must(w.t, err)
		_, err = tx.Exec(w.t.Context(), `SELECT * FROM strikes JOIN users USING (strike_key)
			WHERE name LIKE 'stuck%' FOR UPDATE OF strikes`)
		must(w.t, err)
	}, func() {
		must(w.t, tx.Rollback(w.t.Context()))
		must(w.t, conn.Close(w.t.Context()))
		stuck.Wait()
	}}
}

// stopReplica returns a fault that stops the replicas in turn, and continues them.
func (w *world) stopReplica() fault {
	turn := 0
	return fault{"a stopped replica",
		func() { w.f.replicas[turn%len(w.f.replicas)].signal(stopSignal) },
		func() {
			w.f.replicas[turn%len(w.f.replicas)].signal(continueSignal)
			turn++
		}}
}

// TestCrashReplicas kills replicas repeatedly while they are used.
func TestCrashReplicas(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{database: enginetest.Postgres(t)})
	w.endure(choose(2, 50), staleness, w.killReplica())
}
