package server_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/enginetest"
	"github.com/latchkey/latchkey/internal/redisstore"
	"github.com/latchkey/latchkey/internal/sqlstore"
)

// place is an open set of stores.
type place struct {
	stores authority.Stores
	ready  func(context.Context) error
	close  func() error
}

// shared opens the stores of so many replicas as LATCHKEY_TEST_STORES asks for: none
// on "", the embedded database, one on "postgres" and on "postgres+redis", and three
// of the latter, which requests are spread over, on "replicas". `make test` runs the
// tests on each.
func shared(t testing.TB, alone bool, idle time.Duration, log *slog.Logger) (places []place) {
	t.Helper()
	engines := os.Getenv("LATCHKEY_TEST_STORES") // here, so that results are not taken for those of another engine
	n := map[string]int{"": 0, "postgres": 1, "postgres+redis": 1, "replicas": 3}
	count, known := n[engines]
	if !known {
		t.Fatalf("LATCHKEY_TEST_STORES=%q is unknown", engines)
	}
	if alone {
		count = min(count, 1)
	}
	if count == 0 {
		return nil
	}
	url, redis := enginetest.Postgres(t), ""
	if engines != "postgres" {
		redis = enginetest.Redis(t)
	}
	for range count {
		db, err := sqlstore.OpenPostgres(context.Background(), sqlstore.PostgresOptions{URL: url, IdleTimeout: idle, Log: log})
		if err != nil {
			t.Fatal(err)
		}
		p := place{db.Stores(), db.Ready, func() error { return db.Close(context.Background()) }}
		if redis != "" {
			copies, err := redisstore.Open(context.Background(), redisstore.Options{URL: redis, Record: db, Key: []byte("the key of all replicas"), Log: log})
			if err != nil {
				t.Fatal(err)
			}
			p.stores.Sessions = copies
			p.close = func() error { return errors.Join(copies.Close(), db.Close(context.Background())) }
		}
		places = append(places, p)
	}
	return places
}
