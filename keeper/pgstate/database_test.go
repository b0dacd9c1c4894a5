package pgstate_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/internal/enginetest"
	"github.com/latchkey/latchkey/keeper"
	"github.com/latchkey/latchkey/keeper/internal/replicatest"
	"github.com/latchkey/latchkey/keeper/pgstate"
	"github.com/latchkey/latchkey/keeper/statetest"
)

func TestStateConformsBehindPgBouncer(t *testing.T) {
	statetest.Run(t, func(t *testing.T) statetest.Place {
		directly := enginetest.Postgres(t)
		return place(t, enginetest.StartPgBouncer(t, directly), directly)
	})
}

func TestKeepersOfManyHostsBehindPgBouncer(t *testing.T) {
	t.Parallel()
	replicatest.Keepers(t, func(t *testing.T) replicatest.Place {
		url := enginetest.StartPgBouncer(t, enginetest.Postgres(t))
		return replicatest.Place{Open: func(t *testing.T) keeper.State { return open(t, url) }}
	})
}

// CockroachDB's transactions are serializable, whatever one asks for.
func TestStateConformsWhereTransactionsAreSerializable(t *testing.T) {
	statetest.Run(t, func(t *testing.T) statetest.Place {
		directly := enginetest.Postgres(t)
		return place(t, directly+"&default_transaction_isolation=serializable", directly)
	})
}

// PostgreSQL as it comes, which dies.
func TestWhatIsSavedSurvivesTheServer(t *testing.T) {
	server := enginetest.StartPostgres(t)
	state := openFor(t, server.URL(), 3*time.Second)
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
	directly := enginetest.Postgres(t)
	at, err := url.Parse(directly)
	if err != nil {
		t.Fatal(err)
	}
	proxy := enginetest.StartProxy(t, at.Host)
	at.Host = proxy.Addr()
	late, other := openFor(t, at.String(), time.Second), openFor(t, directly, time.Second)
	lease := acquire(t, late)
	save(t, lease, "before")
	proxy.Stall()
	next := acquire(t, other)
	save(t, next, "next")
	if err := lease.Save(t.Context(), "late"); err == nil {
		t.Error("Save succeeded without a server")
	}
	proxy.Heal()
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

// The clock of the database is put back while a holder has the lease, and the holder
// dies: the lease ends as if nothing had been done to the clock.
func TestALeaseThatEndsInTheFutureIsNoLongerThanOthers(t *testing.T) {
	url := enginetest.Postgres(t)
	byHand, state := connect(t, url), openFor(t, url, time.Second)
	for _, ahead := range []string{"1 minute", "1 day", "20 years"} {
		lease := acquire(t, state)
		save(t, lease, "before")
		if err := lease.Release(t.Context()); err != nil { // it is not renewed any more
			t.Fatal(err)
		}
		change(t, byHand, `UPDATE latchkey_keeper_state
			SET holder = 'dead', held_until = clock_timestamp() + $1::interval`, ahead)
		begun := time.Now()
		lease = acquire(t, state)
		if took := time.Since(begun); took < 900*time.Millisecond {
			t.Errorf("%s ahead: the next one has the lease after %v, though the holder may live", ahead, took)
		}
		if err := lease.Release(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

func TestManyThatBeginAtOnceMakeOneTable(t *testing.T) {
	for range 5 {
		url := enginetest.Postgres(t)
		var replicas sync.WaitGroup
		for range 16 {
			pool := connect(t, url)
			replicas.Go(func() {
				if _, err := pgstate.New(t.Context(), pool, config); err != nil {
					t.Error(err)
				}
			})
		}
		replicas.Wait()
	}
}

func TestAProgramNeedsNoRightToMakeATableThatIsThere(t *testing.T) {
	directly := enginetest.Postgres(t)
	pool := connect(t, directly)
	role := "app_" + strings.TrimLeft(directly[strings.LastIndex(directly, "/test")+1:strings.Index(directly, "?")], "/")
	run := func(sql string) {
		t.Helper()
		if _, err := pool.Exec(context.Background(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	run("CREATE ROLE " + role + " LOGIN")
	t.Cleanup(func() { run("DROP OWNED BY " + role); run("DROP ROLE " + role) })
	app := connect(t, strings.Replace(directly, "//postgres@", "//"+role+"@", 1))
	if _, err := pgstate.New(t.Context(), app, config); err == nil ||
		!strings.Contains(err.Error(), "latchkey_keeper_state") {
		t.Errorf("New without the table and the right to make it: %v", err)
	}
	run(pgstate.Table)
	run("GRANT SELECT, INSERT, UPDATE ON latchkey_keeper_state TO " + role)
	state, err := pgstate.New(t.Context(), app, config)
	if err != nil {
		t.Fatal(err)
	}
	lease := acquire(t, state)
	save(t, lease, "with these rights")
	if err := errors.Join(state.Touch(t.Context(), time.Now()), lease.Release(t.Context())); err != nil {
		t.Error(err)
	}
}

func TestTheKeyAndTheNameMustFit(t *testing.T) {
	pool := connect(t, enginetest.Postgres(t))
	try := func(config pgstate.Config) error {
		_, err := pgstate.New(t.Context(), pool, config)
		return err
	}
	state, err := pgstate.New(t.Context(), pool, config)
	if err != nil {
		t.Fatal(err)
	}
	lease := acquire(t, state)
	save(t, lease, "secret")
	if err := lease.Release(t.Context()); err != nil {
		t.Error(err)
	}
	other := []byte("another key of the tests, as long")
	if err := try(pgstate.Config{Name: config.Name, Key: other}); err == nil ||
		!strings.Contains(hintOf(err), "DELETE FROM latchkey_keeper_state") {
		t.Errorf("with another key: %v, want an error that says what to do", err)
	}
	if err := try(pgstate.Config{Name: "zoe", Key: key}); err != nil {
		t.Errorf("another state: %v", err)
	}
	change(t, pool, `UPDATE latchkey_keeper_state SET name = 'zoe'`)
	if err := try(pgstate.Config{Name: "zoe", Key: key}); err == nil {
		t.Error("one state is another under its name")
	}
	for _, faulty := range []pgstate.Config{
		{}, {Name: "zoe", Key: key[:31]}, {Key: key}, {Name: strings.Repeat("n", 201), Key: key},
		{Name: "\xff", Key: key}, {Name: "z\x00e", Key: key},
	} {
		if err := try(faulty); err == nil {
			t.Errorf("%v is accepted", faulty)
		}
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		text := fmt.Sprintf(verb+verb+verb, config, state, &config)
		if strings.Contains(text, string(key)) || strings.Contains(text, fmt.Sprintf("%x", key)) ||
			strings.Contains(text, fmt.Sprintf("%d", key)) || !strings.Contains(text, config.Name) {
			t.Errorf("%s shows %s", verb, text)
		}
	}
}

func openFor(t *testing.T, url string, ttl time.Duration) *pgstate.State {
	t.Helper()
	state, err := pgstate.NewWithTTL(t.Context(), connect(t, url), config, ttl)
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

// hintOf returns the advice that err has.
func hintOf(err error) string {
	var hinted interface{ Hint() string }
	if errors.As(err, &hinted) {
		return hinted.Hint()
	}
	return ""
}
