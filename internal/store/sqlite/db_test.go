package sqlite_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/store"
	"github.com/latchkey/latchkey/internal/store/sqlite"
	"github.com/latchkey/latchkey/internal/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// open opens a database, and closes it when the test ends unless that was done.
func open(t *testing.T, path string) (*sqlite.DB, func()) {
	t.Helper()
	db, err := sqlite.Open(t.Context(), sqlite.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	closeOnce := sync.OnceFunc(func() {
		if err := db.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(closeOnce)
	return db, closeOnce
}

func TestStoreInAFile(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) authority.Stores {
		db, _ := open(t, filepath.Join(t.TempDir(), "latchkey.db"))
		return db.Stores()
	})
}

func TestStoreInMemory(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) authority.Stores {
		db, _ := open(t, "")
		return db.Stores()
	})
}

func TestReopenKeepsEverything(t *testing.T) {
	path := filepath.Join(t.TempDir(), "latchkey.db")
	db, closeDB := open(t, path)
	ctx := t.Context()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for i := range 20 {
		check(db.CreateSession(ctx, storetest.NewSession(i, "u", start)))
	}
	for i := range 10 {
		_, err := db.EndSession(ctx, storetest.Key(i), authority.End{At: start, Reason: authority.ReasonLogout})
		check(err)
	}
	used := start.Add(time.Minute)
	_, err := db.UseSession(ctx, storetest.Key(15), used, storetest.Idle)
	check(err)
	client := authority.Client{ID: authority.ClientID{9}, Key: "k", CreatedAt: start}
	check(db.CreateClient(ctx, client))
	closeDB()

	db, _ = open(t, path)
	for i := range 20 { // at once, while the index may still be filling
		_, err := db.UseSession(ctx, storetest.Key(i), used, storetest.Idle)
		if alive := err == nil; alive != (i >= 10) {
			t.Errorf("after reopening, session %d alive: %v (%v)", i, alive, err)
		}
	}
	if got, err := db.Client(ctx, client.ID); err != nil || got != client {
		t.Errorf("after reopening, the client is %+v (%v)", got, err)
	}
	// A clean end stores the exact last use.
	_, err = db.UseSession(ctx, storetest.Key(14), used.Add(storetest.Idle), storetest.Idle)
	if !errors.Is(err, authority.ErrNotFound) {
		t.Errorf("an idle session returned %v", err)
	}
}

// TestADatabaseOfADevelopmentVersionIsRefused opens a database with a schema from before
// the first release.
func TestADatabaseOfADevelopmentVersionIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "latchkey.db")
	old, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	for _, statement := range []string{
		`CREATE TABLE goose_db_version (id INTEGER PRIMARY KEY AUTOINCREMENT, version_id INTEGER NOT NULL,
			is_applied INTEGER NOT NULL, tstamp TIMESTAMP DEFAULT (datetime('now')))`,
		`INSERT INTO goose_db_version (version_id, is_applied) VALUES (0, 1), (10, 1)`,
		`CREATE TABLE users (name TEXT)`, `CREATE TABLE audit (seq INTEGER)`, `CREATE TABLE clients (id BLOB)`,
	} {
		if _, err := old.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	if err := old.Close(); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, opened := sqlite.Open(t.Context(), sqlite.Options{Path: path})
	_, inspected := sqlite.Inspect(t.Context(), path)
	for _, err := range []error{opened, inspected} {
		var schema *store.SchemaError
		if !errors.Is(err, store.ErrOlderSchema) || !errors.As(err, &schema) || schema.Found != 10 || schema.Hint() == "" {
			t.Errorf("it was refused with: %v", err)
		}
	}
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	tables := 0
	err = db.QueryRowContext(t.Context(), `SELECT count(*) FROM sqlite_schema WHERE type = 'table'`).Scan(&tables)
	if err != nil || tables != 5 { // with sqlite_sequence
		t.Errorf("afterwards it has %d tables, %v", tables, err)
	}
	after, err := os.ReadFile(path)
	if err != nil || len(after) != len(before) {
		t.Errorf("the file had %d bytes, and has %d, %v", len(before), len(after), err)
	}
}

func TestOpenRefusesWhatItCannotUse(t *testing.T) {
	directory := t.TempDir()
	refused := func(path string, want error, words string) {
		t.Helper()
		db, err := sqlite.Open(t.Context(), sqlite.Options{Path: path})
		if err == nil {
			_ = db.Close(t.Context())
			t.Fatalf("%s was opened", path)
		}
		if want != nil && !errors.Is(err, want) ||
			!strings.Contains(err.Error(), words) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s was refused with: %v", path, err)
		}
	}

	used := filepath.Join(directory, "used.db")
	_, closeUsed := open(t, used)
	refused(used, sqlite.ErrInUse, "in use by another latchkey server")
	closeUsed()
	_, closeUsed = open(t, used)
	closeUsed()

	text := filepath.Join(directory, "text.db")
	if err := os.WriteFile(text, []byte(strings.Repeat("this is no database\n", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	refused(text, nil, "not a database")

	folder := filepath.Join(directory, "folder.db")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	refused(folder, nil, "directory")
	refused(filepath.Join(text, "below.db"), nil, "not a directory")
}

func TestFilesAreTheOwnersAlone(t *testing.T) {
	directory := filepath.Join(t.TempDir(), "data")
	db, _ := open(t, filepath.Join(directory, "latchkey.db"))
	if err := db.CreateUser(t.Context(), authority.User{Name: "u"}); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(directory)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("others may read %s: %v", entry.Name(), info.Mode())
		}
	}
	if len(entries) < 3 {
		t.Errorf("saw only %d files", len(entries))
	}
}

// TestStressLoading ends and uses sessions while the index is still filling.
func TestStressLoading(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "latchkey.db")
	const n = 6000
	db, closeDB := open(t, path)
	var group sync.WaitGroup
	for worker := range 500 {
		group.Go(func() {
			for i := worker; i < n; i += 500 {
				if err := db.CreateSession(context.Background(), storetest.NewSession(i, fmt.Sprint("u", i%7), start)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	closeDB()

	db, _ = open(t, path)
	for worker := range 200 {
		group.Go(func() {
			for i := worker; i < n; i += 200 {
				key := storetest.Key(i)
				if i%3 == 0 {
					end := authority.End{At: start, Reason: authority.ReasonLogout}
					if _, err := db.EndSession(context.Background(), key, end); err != nil {
						t.Error(err)
					}
				}
				if _, err := db.UseSession(context.Background(), key, start, storetest.Idle); (err == nil) != (i%3 != 0) {
					t.Errorf("session %d: %v", i, err)
				}
			}
		})
	}
	group.Wait()
	for i := range n {
		_, err := db.UseSession(context.Background(), storetest.Key(i), start, storetest.Idle)
		if (err == nil) != (i%3 != 0) {
			t.Fatalf("session %d at the end: %v", i, err)
		}
	}
}

// A caller may leave while its change is being made. It must not look at what the
// change is still setting: the race detector tells.
func TestCallersThatLeave(t *testing.T) {
	db, _ := open(t, "")
	for i := range 400 {
		ctx, cancel := context.WithCancel(t.Context())
		key := storetest.Key(i)
		if err := db.CreateSession(t.Context(), storetest.NewSession(i, "u", start)); err != nil {
			t.Fatal(err)
		}
		left := make(chan struct{})
		go func() {
			defer close(left)
			cancel()
		}()
		var n int
		var err error
		switch i % 3 {
		case 0:
			_, err = db.EndSession(ctx, key, authority.End{At: start, Reason: authority.ReasonLogout})
		case 1:
			end := authority.End{At: start, Reason: authority.ReasonLogout}
			n, err = db.EndUserSessions(ctx, "u", 9, authority.SessionKey{}, end)
		case 2:
			n, err = db.PurgeSessions(ctx, start.Add(time.Hour), 100)
		}
		<-left
		if err != nil && (n != 0 || !errors.Is(err, context.Canceled) && !errors.Is(err, authority.ErrNotFound)) {
			t.Errorf("operation %d returned %d and %v", i%3, n, err)
		}
	}
}

// TestASessionMadeWhileOthersAreReadExpiresOnTime makes sessions while the index
// fills from the table, in which last uses are ahead.
func TestASessionMadeWhileOthersAreReadExpiresOnTime(t *testing.T) {
	t.Parallel()
	db, _ := open(t, filepath.Join(t.TempDir(), "latchkey.db"))
	ctx, stop := context.WithCancel(t.Context())
	var reading, making sync.WaitGroup
	for range 2 {
		reading.Go(func() {
			for last := int64(0); ctx.Err() == nil; {
				var err error
				if last, err = sqlite.LoadSome(ctx, db, last); err != nil && ctx.Err() == nil {
					t.Error(err)
				}
			}
		})
	}
	const n = 3000
	for worker := range 64 {
		making.Go(func() {
			for i := worker; i < n; i += 64 {
				if err := db.CreateSession(t.Context(), storetest.NewSession(i, "u", start)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	making.Wait()
	stop()
	reading.Wait()
	late := 0
	for i := range n {
		if _, err := db.UseSession(t.Context(), storetest.Key(i), start.Add(storetest.Idle), storetest.Idle); err == nil {
			late++
		}
	}
	if late > 0 {
		t.Errorf("%d of %d sessions live longer than their idle time", late, n)
	}
}
