package sqlite_test

import (
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pressly/goose/v3"

	"github.com/latchkey/latchkey/internal/authority"
)

// TestTheTrailOfAnOlderDatabaseIsReadAndGoesOn opens databases from before events had
// fields for requests. The chains are those that the version of then computed.
func TestTheTrailOfAnOlderDatabaseIsReadAndGoesOn(t *testing.T) {
	const first, second = "e70ba6f201fcbdaed79d41344d121fcdcf6e9df36b78650e202f148a10c6f611",
		"9c6abf0944c8140e6813913deaa7fff04b4d02562fba671991cec8ee59bc412c"
	at := time.Date(2026, 3, 1, 12, 0, 0, 123000, time.UTC)
	old := func(t *testing.T, driver, source string, dialect goose.Dialect, version int64, bytes string, options ...goose.ProviderOption) {
		t.Helper()
		db, err := sql.Open(driver, source)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = db.Close() }()
		files := os.DirFS("migrations")
		provider, err := goose.NewProvider(dialect, db, files, append(options, goose.WithLogger(goose.NopLogger()))...)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := provider.UpTo(t.Context(), version); err != nil {
			t.Fatal(err)
		}
		for _, statement := range []string{
			fmt.Sprintf(`INSERT INTO audit (seq, at, kind, user_name, session_id, api_key, address, request_id, detail, chain) VALUES
				(1, %d, 'login', 'zoe', 's1', 'key', '10.0.0.1', 'r1', '', %s),
				(2, %d, 'forwarded', 'zoe', 's1', 'key', '10.0.0.1', 'r2', 'GET /api/x 200 3ms upstream u1', %s)`,
				at.UnixMicro(), fmt.Sprintf(bytes, first), at.UnixMicro()+999_877, fmt.Sprintf(bytes, second)),
			fmt.Sprintf(`UPDATE audit_head SET seq = 2, chain = %s`, fmt.Sprintf(bytes, second)),
		} {
			if _, err := db.ExecContext(t.Context(), statement); err != nil {
				t.Fatal(err)
			}
		}
	}
	check := func(t *testing.T, stores authority.Stores) {
		t.Helper()
		a, err := authority.New(authority.Config{Stores: stores, Key: []byte(strings.Repeat("k", 32))})
		if err != nil {
			t.Fatal(err)
		}
		a.RecordForwarded(t.Context(), authority.Event{At: at, Kind: authority.EventForwarded, User: "zoe", Method: "GET", Path: "/api/x", Status: 200})
		events, err := a.AuditEvents(t.Context(), authority.AuditQuery{})
		if err != nil || len(events) != 3 || events[1].Detail != "GET /api/x 200 3ms upstream u1" || events[1].Path != "" || events[2].Path != "/api/x" {
			t.Errorf("the trail is %+v, %v", events, err)
		}
		if proof, err := a.VerifyAudit(t.Context(), authority.AuditMark{Seq: 2, Chain: events[1].Chain}); err != nil || proof.Broken != 0 || proof.Events != 3 {
			t.Errorf("the proof is %+v, %v", proof, err)
		}
	}
	t.Run("SQLite", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "latchkey.db")
		old(t, "sqlite", path, goose.DialectSQLite3, 5, "x'%s'")
		db, _ := open(t, path)
		check(t, db.Stores())
	})
}
