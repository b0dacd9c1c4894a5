package cli_test

import (
	"database/sql"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/enginetest"
)

// contents lists what is below a directory.
func contents(t *testing.T, directory string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(directory, func(path string, _ os.DirEntry, err error) error {
		names = append(names, path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestCheckStartsNothing(t *testing.T) {
	t.Parallel()
	place := t.TempDir()
	data := place + "/data"
	check := func(code int, args ...string) string {
		t.Helper()
		before := contents(t, place)
		out, said := run(t, code, "", append([]string{"serve", "--check", "--listen", "127.0.0.1:0"}, args...)...)
		if after := contents(t, place); !slices.Equal(before, after) {
			t.Errorf("the check changed %v to %v", before, after)
		}
		return out + said
	}
	has(t, check(0, "--data", data), "nothing was started")
	has(t, check(0, "--demo"), "nothing was started")
	has(t, check(0, "--demo", "--simulate"), "nothing was started")
	t.Run("with", func(t *testing.T) {
		url := serve(t, "--data", data)
		has(t, check(0, "--data", data, "--listen", strings.TrimPrefix(url, "http://")),
			"in use, by this service", "nothing was started")
		run(t, 0, "", "user", "add", "zoe", "--data", data)
	})
	has(t, check(0, "--data", data), "nothing was started")

	// All mistakes are reported at once: settings, files and addresses.
	file := place + "/file"
	if err := os.WriteFile(file, []byte("no certificate\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	said := check(2, "--data", file+"/data", "--key-file", file, "--lock-after", "0", "--listen", "192.0.2.1:0",
		"--tls-cert", file, "--tls-key", file, "--local-socket", place+"/none/socket", "--ready-file", file,
		"--upstream", "https://api.example", "--upstream-api-key", "k", "--upstream-api-secret-file", place+"/secret",
		"--upstream-credential-file", place+"/credential", "--upstream-ca-file", file)
	has(t, said, "10 things are wrong", "not a directory", "--local-socket ", "--lock-after 0",
		"others may read the server key",
		"TLS certificate",
		"192.0.2.1:0", "not a ready file", place+"/secret", place+"/credential", "holds no certificate")

	if err := os.Rename(data+"/server.key", place+"/server.key"); err != nil {
		t.Fatal(err)
	}
	has(t, check(2, "--data", data), "is missing", "--new-key")
	has(t, check(0, "--data", data, "--new-key"), "nothing was started")
	has(t, check(0, "--data", data, "--key-file", place+"/server.key"), "nothing was started")
	has(t, check(2, "--data", data, "--key-file", place+"/server.key", "--new-key"), "--new-key is for when it is lost")
	has(t, check(2, "--data", data, "--key-file", place+"/none"), "server key cannot be read")
	has(t, check(2, "--data", data, "--database", "sqlite:"+file), "not a database")

	db, err := sql.Open("sqlite", "file:"+data+"/latchkey.db")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(`INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, 1)`); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	has(t, check(2, "--data", data, "--key-file", place+"/server.key"), "newer latchkey")
}

func TestCheckConnectsToPostgreSQL(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	database := enginetest.Postgres(t)
	data, mine, other := t.TempDir(), t.TempDir()+"/mine.key", t.TempDir()+"/other.key"
	for path, letter := range map[string]string{mine: "k", other: "o"} {
		if err := os.WriteFile(path, []byte(strings.Repeat(letter, 32)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("LATCHKEY_DATA", data)
	check := func(code int, args ...string) string {
		t.Helper()
		checked := []string{"serve", "--check", "--listen", "127.0.0.1:0", "--key-file", mine}
		out, said := run(t, code, "", append(checked, args...)...)
		return out + said
	}
	t.Setenv("LATCHKEY_DATABASE", database)
	check(0)
	t.Run("with", func(t *testing.T) { serve(t, "--key-file", mine); check(0) })
	check(0)
	check(0, "--database-listen", database)
	has(t, check(2, "--database-listen", "postgres://127.0.0.1:1/none"), "--database-listen")
	_, said := run(t, 2, "", "serve", "--check", "--listen", "127.0.0.1:0", "--key-file", other)
	has(t, said, "server key")
	t.Setenv("LATCHKEY_DATABASE", "postgres://zoe:hunter2@127.0.0.1:1/none")
	said = check(2)
	has(t, said, "LATCHKEY_DATABASE", "refused")
	if strings.Contains(said, "hunter2") {
		t.Errorf("the password is shown: %s", said)
	}
}
