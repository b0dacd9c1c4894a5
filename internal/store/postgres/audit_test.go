package postgres_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/enginetest"
	"github.com/latchkey/latchkey/internal/store/postgres"
)

// What the database refuses of one caller takes nothing of other callers with it,
// although all of it is written in one transaction.
func TestAnEventThatPostgresRefusesIsItsCallersOnly(t *testing.T) {
	t.Parallel()
	url := enginetest.Postgres(t)
	db := openPostgres(t, postgres.Options{URL: url})
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	if _, err := conn.Exec(t.Context(), `ALTER TABLE audit ADD CONSTRAINT refuse CHECK (detail <> 'poison')`); err != nil {
		t.Fatal(err)
	}
	var calls sync.WaitGroup
	for i := range 200 {
		calls.Go(func() {
			detail := fmt.Sprint(i)
			if i%20 == 7 {
				detail = "poison"
			}
			err := db.AppendAudit(t.Context(), authority.Event{At: start, Kind: authority.EventLogIn, Detail: detail})
			if (err != nil) != (detail == "poison") {
				t.Errorf("%s: %v", detail, err)
			}
		})
	}
	calls.Wait()
	events, err := db.AuditEvents(t.Context(), authority.AuditQuery{Limit: 1000})
	poison := func(e authority.Event) bool { return e.Detail == "poison" }
	if err != nil || len(events) != 190 || slices.ContainsFunc(events, poison) {
		t.Errorf("%d events are stored, want 190; %v", len(events), err)
	}
	var head authority.Chain
	for _, e := range events {
		if head = e.After(head); e.Chain != head {
			t.Fatalf("the chain is broken at %+v", e)
		}
	}
}
