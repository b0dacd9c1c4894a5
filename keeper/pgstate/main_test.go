package pgstate_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/latchkey/latchkey/keeper"
	"github.com/latchkey/latchkey/keeper/internal/replicatest"
	"github.com/latchkey/latchkey/keeper/pgstate"
)

func TestMain(m *testing.M) {
	replicatest.Main(m, func(ctx context.Context, url string) (keeper.State, error) {
		pool, err := pgxpool.New(ctx, url)
		if err != nil {
			return nil, err
		}
		return pgstate.New(ctx, pool, config)
	})
}

var (
	key    = []byte("a key of the tests: 32 bytes long")
	config = pgstate.Config{Name: "zbeeblebrox", Key: key}
)

// connect is a pool that ends with the test.
func connect(t testing.TB, url string) *pgxpool.Pool {
	t.Helper()
	pool, err := pgxpool.New(context.Background(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// open is the state of a replica, which has a pool of its own.
func open(t testing.TB, url string) *pgstate.State {
	t.Helper()
	state, err := pgstate.New(t.Context(), connect(t, url), config)
	if err != nil {
		t.Fatal(err)
	}
	return state
}

// change is done by hand to the database.
func change(t testing.TB, pool *pgxpool.Pool, sql string, arguments ...any) {
	t.Helper()
	if tag, err := pool.Exec(context.Background(), sql, arguments...); err != nil || tag.RowsAffected() == 0 {
		t.Fatalf("%s: %v, %s", sql, err, tag)
	}
}
