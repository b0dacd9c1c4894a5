package cli_test

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/latchkey/latchkey/internal/enginetest"
)

// embedded makes a data directory of a service that was used, and returns its API key
// and secret.
func embedded(t *testing.T) (data, apiKey, apiSecret string) {
	t.Helper()
	data = t.TempDir() + "/data"
	t.Run("an embedded service is used", func(t *testing.T) {
		url := serve(t, "--data", data)
		for _, user := range []string{"zoe", "ford", "müller", "trillian"} {
			run(t, 0, "correct-horse\n", "user", "add", user, "--data", data, "--password-stdin")
		}
		run(t, 0, "", "user", "allow", "zoe", "GET /api/m2m/v1/devices/**", "--data", data)
		run(t, 0, "", "user", "lock", "ford", "--data", data)
		run(t, 0, "", "user", "disable", "trillian", "--data", data)
		out, _ := run(t, 0, "", "client", "add", "dispatch", "--json", "--data", data)
		var made struct{ Key, Secret string }
		if err := json.Unmarshal([]byte(out), &made); err != nil {
			t.Fatal(err)
		}
		apiKey, apiSecret = made.Key, made.Secret
		t.Setenv("LATCHKEY_API_SECRET", apiSecret)
		t.Setenv("XDG_STATE_HOME", t.TempDir())
		as := []string{"--url", url, "--api-key", apiKey, "--user"}
		run(t, 0, "correct-horse\n", append([]string{"login", "--password-stdin"}, append(as, "zoe")...)...)
		for range 3 {
			run(t, 3, "wrong-horse\n", append([]string{"login", "--password-stdin", "--force"}, append(as, "müller")...)...)
		}
	})
	return data, apiKey, apiSecret
}

func TestImportIntoPostgreSQL(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	data, apiKey, apiSecret := embedded(t)
	out, _ := run(t, 0, "", "audit", "verify", "--data", data)
	head := regexp.MustCompile(`head  (\S+)`).FindStringSubmatch(out)[1]
	users, _ := run(t, 0, "", "user", "list", "--json", "--data", data)
	clients, _ := run(t, 0, "", "client", "list", "--json", "--data", data)
	trail, _ := run(t, 0, "", "audit", "--json", "--limit", "0", "--data", data)

	database := enginetest.Postgres(t)
	t.Setenv("LATCHKEY_DATABASE", database)
	_, said := run(t, 0, "", "import", data)
	has(t, said, "database: postgres://", "4 users, 1 API clients", "sessions are not imported",
		"trail is intact", "same server key")
	if strings.Contains(said, "broken") {
		t.Errorf("the trail is broken: %s", said)
	}

	place := []string{"--data", t.TempDir() + "/replica", "--key-file", data + "/server.key"}
	same := func(what, before string, args ...string) {
		t.Helper()
		if after, _ := run(t, 0, "", append(args, place...)...); after != before {
			t.Errorf("the %s differ:\n%s\n%s", what, before, after)
		}
	}
	same("users", users, "user", "list", "--json")
	same("API clients", clients, "client", "list", "--json")
	after, _ := run(t, 0, "", append([]string{"audit", "--json", "--limit", "0"}, place...)...)
	if !strings.HasPrefix(after, trail) {
		t.Errorf("the trail differs:\n%s\n%s", trail, after)
	}
	has(t, strings.TrimPrefix(after, trail), `"kind":"imported"`)
	run(t, 0, "", append([]string{"audit", "verify", "--head", head}, place...)...)
	out, _ = run(t, 0, "", append([]string{"session", "list"}, place...)...)
	if strings.Contains(out, "zoe") {
		t.Errorf("sessions were imported: %s", out)
	}

	url := serve(t, place...)
	t.Setenv("LATCHKEY_API_SECRET", apiSecret)
	as := []string{"--password-stdin", "--force", "--url", url, "--api-key", apiKey, "--user"}
	run(t, 0, "correct-horse\n", append([]string{"login"}, append(as, "zoe")...)...)
	run(t, 4, "correct-horse\n", append([]string{"login"}, append(as, "ford")...)...)
	run(t, 3, "correct-horse\n", append([]string{"login"}, append(as, "trillian")...)...)
	run(t, 3, "wrong-horse-4\n", append([]string{"login"}, append(as, "müller")...)...) // the fourth
	run(t, 3, "wrong-horse-5\n", append([]string{"login"}, append(as, "müller")...)...)
	run(t, 4, "correct-horse\n", append([]string{"login"}, append(as, "müller")...)...)
	run(t, 0, "", append([]string{"audit", "verify", "--head", head}, place...)...)

	_, said = run(t, 3, "", "import", data)
	has(t, said, "not empty", "nothing was imported")
}

func TestImportABackupWhileTheServiceRuns(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	data, file := t.TempDir()+"/data", t.TempDir()+"/backup"
	serve(t, "--data", data)
	run(t, 0, "", "user", "add", "zoe", "--data", data)
	run(t, 0, "", "backup", file, "--data", data)
	t.Setenv("LATCHKEY_DATABASE", enginetest.Postgres(t))
	_, said := run(t, 1, "", "import", data)
	has(t, said, "in use", "nothing was imported")
	_, said = run(t, 1, "", "import", file)
	has(t, said, "no server key", "--key-file", "nothing was imported")
	run(t, 0, "", "import", file, "--key-file", data+"/server.key")
	out, _ := run(t, 0, "", "user", "list", "--data", t.TempDir(), "--key-file", data+"/server.key")
	has(t, out, "zoe")
}

func TestAFailedImportChangesNothing(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	data, _, _ := embedded(t)
	database := enginetest.Postgres(t)
	_, said := run(t, 2, "", "import", data)
	has(t, said, "PostgreSQL database to import into is missing")
	_, said = run(t, 2, "", "import", data, "--database", "sqlite:"+data+"/latchkey.db")
	has(t, said, "missing")
	t.Setenv("LATCHKEY_DATABASE", database)
	_, said = run(t, 1, "", "import", t.TempDir())
	has(t, said, "no latchkey database")
	other := t.TempDir() + "/other.key"
	if err := os.WriteFile(other, []byte(strings.Repeat("k", 32)), 0o600); err != nil {
		t.Fatal(err)
	}
	_, said = run(t, 1, "", "import", data, "--key-file", other)
	has(t, said, "not the server key of the database", "nothing was imported")

	empty := func(where string) {
		t.Helper()
		conn, err := pgx.Connect(t.Context(), where)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(t.Context())
		var rows int
		const count = `SELECT (SELECT count(*) FROM users) + (SELECT count(*) FROM audit) + (SELECT count(*) FROM clients)`
		if err := conn.QueryRow(t.Context(), count).Scan(&rows); err != nil || rows != 0 {
			t.Errorf("there are %d rows, %v", rows, err)
		}
	}
	// A replica that has another key has agreed on it.
	t.Run("another key", func(t *testing.T) { serve(t, "--data", t.TempDir(), "--key-file", other) })
	_, said = run(t, 3, "", "import", data)
	has(t, said, "server key", "nothing was imported")
	empty(database)
	// The last table cannot be written, so the ones before it are rolled back.
	full := enginetest.Postgres(t)
	t.Setenv("LATCHKEY_DATABASE", full)
	t.Run("a full table", func(t *testing.T) { serve(t, "--data", t.TempDir(), "--key-file", data+"/server.key") })
	conn, err := pgx.Connect(t.Context(), full)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), `ALTER TABLE audit ADD CONSTRAINT few CHECK (seq < 3)`); err != nil {
		t.Fatal(err)
	}
	_, said = run(t, 1, "", "import", data)
	has(t, said, "copy the audit", "nothing was imported")
	empty(full)
	if _, err := conn.Exec(t.Context(), `ALTER TABLE audit DROP CONSTRAINT few`); err != nil {
		t.Fatal(err)
	}
	// The import detects a database that changes what is written.
	if _, err := conn.Exec(t.Context(), `CREATE FUNCTION meddle() RETURNS TRIGGER LANGUAGE plpgsql AS
		$$BEGIN NEW.password_hash := NEW.password_hash || 'x'; RETURN NEW; END$$;
		CREATE TRIGGER meddle BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION meddle()`); err != nil {
		t.Fatal(err)
	}
	_, said = run(t, 1, "", "import", data)
	has(t, said, "not the same", "nothing was imported")
	empty(full)
	if err := conn.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}
