package enginetest_test

import (
	"context"
	"net/url"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/latchkey/latchkey/internal/enginetest"
)

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(soon(t), url)
	must(t, err)
	t.Cleanup(func() { _ = conn.Close(t.Context()) })
	return conn
}

func TestEachTestGetsAnEmptyDatabase(t *testing.T) {
	urls := map[string]bool{}
	for range 2 {
		t.Run("a test", func(t *testing.T) {
			url := enginetest.Postgres(t)
			urls[url] = true
			_, err := connect(t, url).Exec(soon(t), "CREATE TABLE only_once (n int)")
			must(t, err)
		})
	}
	equal(t, "number of databases", len(urls), 2)
}

func TestPostgresKeepsCommittedData(t *testing.T) {
	t.Parallel()
	s := enginetest.StartPostgres(t)
	address, before := s.Addr(), s.URL()
	conn := connect(t, s.URL())
	var fsync string
	must(t, conn.QueryRow(soon(t), "SHOW fsync").Scan(&fsync))
	equal(t, "fsync", fsync, "on")
	_, err := conn.Exec(soon(t), "CREATE TABLE kept (n int)")
	must(t, err)
	_, err = conn.Exec(soon(t), "INSERT INTO kept VALUES (7)")
	must(t, err)

	for range 2 {
		s.Kill()
		if err := conn.Ping(soon(t)); err == nil {
			t.Fatal("a connection outlived the server")
		}
		if _, err := pgx.Connect(soon(t), s.URL()); err == nil {
			t.Fatal("a killed server accepts connections")
		}
		s.Start()
		equal(t, "the address", s.Addr(), address)
		equal(t, "the URL", s.URL(), before)
		conn = connect(t, s.URL())
		var n int
		must(t, conn.QueryRow(soon(t), "SELECT n FROM kept").Scan(&n))
		equal(t, "the value", n, 7)
	}
}

func TestPgBouncerRunsInTransactionMode(t *testing.T) {
	t.Parallel()
	through := enginetest.StartPgBouncer(t, enginetest.Postgres(t))
	parsed, err := url.Parse(through)
	must(t, err)
	conn := connect(t, through+"&default_query_exec_mode=simple_protocol")
	for range 3 {
		tx, err := conn.Begin(soon(t))
		must(t, err)
		var database string
		must(t, tx.QueryRow(soon(t), "SELECT current_database()").Scan(&database))
		equal(t, "the database", "/"+database, parsed.Path)
		must(t, tx.Commit(soon(t)))
	}
	// PgBouncer shows its configuration in its own console.
	console := connect(t, "postgres://pgbouncer@"+parsed.Host+
		"/pgbouncer?sslmode=disable&default_query_exec_mode=simple_protocol")
	rows, err := console.Query(soon(t), "SHOW CONFIG")
	must(t, err)
	defer rows.Close()
	for rows.Next() {
		values, err := rows.Values()
		must(t, err)
		if values[0] == "pool_mode" {
			equal(t, "pool_mode", values[1], any("transaction"))
			return
		}
	}
	t.Fatal("PgBouncer does not show its pool_mode")
}

func TestPgBouncerReconnects(t *testing.T) {
	t.Parallel()
	s := enginetest.StartPostgres(t)
	through := enginetest.StartPgBouncer(t, s.URL())
	s.Kill()
	s.Start()
	eventually(t, "PgBouncer reconnects", func(ctx context.Context) error {
		conn, err := pgx.Connect(ctx, through)
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close(ctx) }()
		_, err = conn.Exec(ctx, "SELECT 1", pgx.QueryExecModeSimpleProtocol)
		return err
	})
}
