package postgres_test

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/enginetest"
	"github.com/latchkey/latchkey/internal/store/postgres"
	"github.com/latchkey/latchkey/internal/store/sqlite"
)

// TestEveryTableIsImportedOrKnownNotToBe makes a new table require a decision.
func TestEveryTableIsImportedOrKnownNotToBe(t *testing.T) {
	t.Parallel()
	path := t.TempDir() + "/latchkey.db"
	db, err := sqlite.Open(t.Context(), sqlite.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close(context.Background()) }()
	file, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	rows, err := file.Query(`SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	known := append(postgres.ImportedTables(), "audit_head", "user_generations",
		"sessions", "goose_db_version", "sqlite_sequence")
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(known, name) {
			t.Errorf("the table %s is neither imported nor known not to be", name)
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
}

func TestAnImportThroughAPooler(t *testing.T) {
	t.Parallel()
	db, err := sqlite.Open(t.Context(), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close(context.Background()) }()
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	events := make([]authority.Event, 3000)
	for i := range events {
		events[i] = authority.Event{
			At: at, Kind: authority.EventForwarded, User: "zoe", Method: "GET",
			Path: "/api/" + strings.Repeat("x", i%200), Duration: time.Duration(i) * time.Microsecond,
		}
	}
	if err := errors.Join(
		db.AppendAudit(t.Context(), events...),
		db.CreateUser(t.Context(), authority.User{Name: "zoe", CreatedAt: at}),
	); err != nil {
		t.Fatal(err)
	}
	target := openPostgres(t, postgres.Options{URL: enginetest.StartPgBouncer(t, enginetest.Postgres(t))})
	key := []byte(strings.Repeat("k", 32))
	done, err := target.Import(t.Context(), db.Reader(), key, func(postgres.Imported) authority.Event {
		return authority.Event{At: at, Kind: authority.EventImported}
	})
	if err != nil || done.Users != 1 || done.Events != 3000 || done.LastEvent != 3000 {
		t.Fatalf("%+v, %v", done, err)
	}
	rules, err := authority.New(authority.Config{Stores: target.Stores(), Key: key})
	if err != nil {
		t.Fatal(err)
	}
	proof, err := rules.VerifyAudit(t.Context(), authority.AuditMark{Seq: done.LastEvent, Chain: done.Head})
	if err != nil || proof.Broken != 0 || proof.Events != 3001 {
		t.Errorf("%+v, %v", proof, err)
	}
	if user, err := target.User(t.Context(), "zoe"); err != nil || !user.CreatedAt.Equal(at) {
		t.Errorf("%+v, %v", user, err)
	}
	if _, err := target.Import(t.Context(), db.Reader(), key, nil); !errors.Is(err, postgres.ErrNotEmpty) {
		t.Errorf("a second import: %v", err)
	}
}
