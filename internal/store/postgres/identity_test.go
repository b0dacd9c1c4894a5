package postgres_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/latchkey/latchkey/internal/enginetest"
	"github.com/latchkey/latchkey/internal/store/postgres"
)

func TestEveryDatabaseHasItsOwnIdentity(t *testing.T) {
	t.Parallel()
	address, empty := enginetest.Postgres(t), enginetest.Postgres(t)
	admin, err := pgx.Connect(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close(t.Context())
	do := func(sql string) {
		t.Helper()
		if _, err := admin.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	db, err := postgres.Open(t.Context(), postgres.Options{URL: address})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close(t.Context())
	mine, err := db.Identity(t.Context())
	if err != nil || mine == "" {
		t.Fatal(mine, err)
	}
	ask := func(address string) string {
		t.Helper()
		identity, err := postgres.IdentityAt(t.Context(), address)
		if err != nil {
			t.Fatal(err)
		}
		return identity
	}
	if got := ask(strings.Replace(address, "127.0.0.1", "localhost", 1)); got != mine {
		t.Errorf("under another name it is %q, not %q", got, mine)
	}
	if got := ask(empty); got != "" {
		t.Errorf("a database that latchkey has not used has the identity %q", got)
	}

	// A user with read access finds the same identity. A copy in another schema has another one.
	do("CREATE ROLE identity_reader LOGIN")
	defer do("DROP OWNED BY identity_reader; DROP ROLE identity_reader")
	do("GRANT SELECT ON shared_settings TO identity_reader")
	reader, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	reader.User = url.User("identity_reader")
	if got := ask(reader.String()); got != mine {
		t.Errorf("to a user without privileges it is %q, not %q", got, mine)
	}
	do("CREATE SCHEMA copy")
	do("CREATE TABLE copy.shared_settings AS SELECT * FROM public.shared_settings")
	if got := ask(address + "&search_path=copy"); got == mine || got == "" {
		t.Errorf("a copy in another schema has the identity %q", got)
	}
	_, err = postgres.IdentityAt(t.Context(), "postgres://nobody:hunter2@127.0.0.1:1/none")
	if err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("a database that is not there: %v", err)
	}
}

func TestARedactedURLHoldsNoSecret(t *testing.T) {
	t.Parallel()
	for address, name := range map[string]string{
		"postgres://u:hunter2@db.example:5432/x?sslmode=disable":            "postgres://db.example:5432/x",
		"postgresql://db.example/x?password=hunter2&search_path=staging":    "postgres://db.example/x?search_path=staging",
		"postgres:///x?host=/run/postgresql&user=u&sslpassword=hunter2":     "postgres:///x?host=%2Frun%2Fpostgresql",
		"postgres://u:hunter2%zz@db.example/x":                              "postgres://…",
		"postgres://u:hunter2@one.example:1,two.example:2/x?target_session": "postgres://one.example:1,two.example:2/x",
	} {
		if got := postgres.RedactURL(address); got != name && (!strings.Contains(address, ",") || got != "postgres://…") {
			t.Errorf("%s is named %s, not %s", address, got, name)
		}
	}
}
