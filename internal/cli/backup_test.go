package cli_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/store/sqlite"
)

// copyFile copies a file to a new one that only its owner may read.
func copyFile(t *testing.T, from, to string) {
	t.Helper()
	text, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestBackupWhileTheServiceRuns(t *testing.T) {
	t.Parallel()
	data, place := t.TempDir()+"/data", t.TempDir()
	serve(t, "--data", data)
	run(t, 0, "correct-horse\n", "user", "add", "zoe", "--data", data, "--password-stdin")
	run(t, 0, "", "user", "lock", "zoe", "--data", data)

	// Users are added one after another while backups are made: each backup has the
	// first of them, and their events, up to some point.
	stop := make(chan struct{})
	var adding sync.WaitGroup
	adding.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				run(t, 0, "correct-horse\n", "user", "add", fmt.Sprintf("user%04d", i), "--data", data, "--password-stdin")
			}
		}
	})
	defer adding.Wait()
	defer close(stop)
	last := 0
	for i := range 5 {
		file := filepath.Join(place, fmt.Sprintf("backup-%d", i))
		_, said := run(t, 0, "", "backup", file, "--data", data)
		has(t, said, "database: sqlite:"+data+"/latchkey.db", file, "server key is not in it", data+"/server.key")
		if info, err := os.Stat(file); err != nil || info.Mode() != 0o600 {
			t.Fatalf("the backup: %v, %v", info.Mode(), err)
		}
		restored := t.TempDir()
		copyFile(t, file, restored+"/latchkey.db")
		copyFile(t, data+"/server.key", restored+"/server.key")
		out, _ := run(t, 0, "", "user", "list", "--limit", "0", "--data", restored)
		has(t, out, "zoe", "locked")
		users := strings.Count(out, "\n") - 1
		if users < last {
			t.Errorf("a later backup has %d users, an earlier one had %d", users, last)
		}
		last = users
		out, _ = run(t, 0, "", "audit", "--json", "--limit", "0", "--data", restored)
		if added := strings.Count(out, `"user-added"`); added < users-1 || added > users {
			t.Errorf("%d users and %d events", users, added)
		}
		out, _ = run(t, 0, "", "audit", "verify", "--data", restored)
		has(t, out, "as they were written")
	}
	if entries, err := os.ReadDir(place); err != nil || len(entries) != 5 {
		t.Errorf("beside the backups: %v, %v", entries, err)
	}
}

func TestBackupWithoutAServer(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	data := t.TempDir() + "/data"
	t.Run("with", func(t *testing.T) { serve(t, "--data", data) }) // makes the database
	file := t.TempDir() + "/backup"
	t.Run("nothing temporary is needed", func(t *testing.T) {
		t.Setenv("TMPDIR", "/nowhere")
		run(t, 0, "", "backup", file, "--data", data)
	})
	if _, err := os.Lstat(data + "/latchkey.db-wal"); err == nil {
		t.Error("the backup left a log beside the database")
	}
	run(t, 0, "", "user", "add", "zoe", "--data", data)

	before, _ := os.ReadFile(file)
	_, said := run(t, 1, "", "backup", file, "--data", data)
	has(t, said, "exists already", "nothing was written")
	if after, _ := os.ReadFile(file); string(after) != string(before) {
		t.Error("the first backup was changed")
	}
	link := t.TempDir() + "/link"
	if err := os.Symlink(t.TempDir()+"/elsewhere", link); err != nil {
		t.Fatal(err)
	}
	run(t, 1, "", "backup", link, "--data", data)
	_, said = run(t, 1, "", "backup", t.TempDir()+"/nowhere/backup", "--data", data)
	has(t, said, "no such file", "no backup was made")
	run(t, 2, "", "backup", "-", "--data", data)
	run(t, 2, "", "backup", "--data", data)
}

// A backup contains the changes that a crash left in the log of the database.
func TestBackupContainsTheWriteAheadLog(t *testing.T) {
	t.Parallel()
	data, crashed := t.TempDir(), t.TempDir()
	db, err := sqlite.Open(t.Context(), sqlite.Options{Path: data + "/latchkey.db"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close(context.Background()) }()
	if err := db.CreateUser(t.Context(), authority.User{Name: "zoe"}); err != nil {
		t.Fatal(err)
	}
	copyFile(t, data+"/latchkey.db", crashed+"/latchkey.db")
	copyFile(t, data+"/latchkey.db-wal", crashed+"/latchkey.db-wal")
	restored := t.TempDir()
	run(t, 0, "", "backup", restored+"/latchkey.db", "--data", crashed)
	out, _ := run(t, 0, "", "user", "list", "--data", restored)
	has(t, out, "zoe")
}

func TestBackupRefusesAnyOtherDatabase(t *testing.T) {
	t.Parallel()
	data, file := t.TempDir(), t.TempDir()+"/backup"
	refused := func(code int, words string, args ...string) {
		t.Helper()
		_, said := run(t, code, "", append([]string{"backup", file}, args...)...)
		has(t, said, words, "nothing was written")
		if _, err := os.Lstat(file); err == nil {
			t.Error("there is a backup")
			_ = os.Remove(file)
		}
	}
	refused(1, "no latchkey database", "--data", data)
	refused(2, "pg_dump", "--data", data, "--database", "postgres://db.example/latchkey")
	other := t.TempDir() + "/other.db"
	if err := os.WriteFile(other, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	refused(1, "no latchkey database", "--data", data, "--database", "sqlite:"+other)
	if err := os.WriteFile(other, []byte(strings.Repeat("this is no database\n", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	_, said := run(t, 1, "", "backup", file, "--data", data, "--database", "sqlite:"+other)
	has(t, said, "not a database", "no backup was made")
	if _, err := os.Lstat(file); err == nil {
		t.Error("there is a backup")
	}
	// A server whose database is not the named one gets no request for a backup.
	served := t.TempDir() + "/data"
	serve(t, "--data", served)
	_, said = run(t, 2, "", "backup", file, "--data", served, "--database", "sqlite:"+other)
	has(t, said, "nothing was done")
	// The backup is of the server's own database, wherever that is.
	elsewhere := t.TempDir() + "/elsewhere.db"
	socket := t.TempDir() + "/data"
	serve(t, "--data", socket, "--database", "sqlite:"+elsewhere)
	_, said = run(t, 0, "", "backup", file, "--data", socket)
	has(t, said, "sqlite:"+elsewhere)
}
