package server_test

import (
	"context"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/enginetest"
	"github.com/latchkey/latchkey/internal/store/postgres"
)

// place is an open set of stores.
type place struct {
	stores authority.Stores
	ready  func(context.Context) error
	close  func() error
}

// shared opens the stores of as many replicas as LATCHKEY_TEST_STORES requires: none for ""
// (the embedded database), one for "postgres", and three for "replicas", over which requests
// are spread. All cache sessions. `make test` runs the tests on each.
func shared(t testing.TB, alone bool, idle time.Duration, log *slog.Logger) (places []place) {
	t.Helper()
	engines := os.Getenv("LATCHKEY_TEST_STORES") // read here, so that the test cache distinguishes engines
	n := map[string]int{"": 0, "postgres": 1, "replicas": 3}
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
	url := enginetest.Postgres(t)
	for range count {
		db, err := postgres.Open(context.Background(),
			postgres.Options{URL: url, CacheSessions: true, IdleTimeout: idle, Log: log})
		if err != nil {
			t.Fatal(err)
		}
		p := place{db.Stores(), db.Ready, func() error { return db.Close(context.Background()) }}
		if count > 1 {
			p.stores.Sessions = knownEverywhere{db}
		}
		places = append(places, p)
	}
	return places
}

// knownEverywhere returns from what ends sessions when every replica refuses them, which is
// a Lease after the end is committed. The tests use another replica at once.
type knownEverywhere struct{ *postgres.DB }

func (s knownEverywhere) EndSession(ctx context.Context, key authority.SessionKey,
	end authority.End) (authority.Session, error) {
	defer waitLease()
	return s.DB.EndSession(ctx, key, end)
}

func (s knownEverywhere) EndUserSessions(ctx context.Context, user string, version int64, keep authority.SessionKey,
	end authority.End) (int, error) {
	n, err := s.DB.EndUserSessions(ctx, user, version, keep, end)
	if n > 0 || err != nil {
		waitLease()
	}
	return n, err
}

func waitLease() {
	over := time.NewTimer(authority.MaxStaleness)
	<-over.C
}
