package sqlite_test

import (
	"context"
	"errors"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/store/sqlite"
	"github.com/latchkey/latchkey/internal/store/storetest"
)

// batch makes n changes that are written as one batch, in their order, and returns
// what came of each.
func batch(t *testing.T, db *sqlite.DB, n int, change func(i int) error) []error {
	t.Helper()
	release := sqlite.HoldWriter(t.Context(), db)
	outcomes := make([]error, n)
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() { outcomes[i] = change(i) })
		for sqlite.Waiting(db) <= i {
			runtime.Gosched() // it is on its way into the queue
		}
	}
	release()
	group.Wait()
	return outcomes
}

// checkOutcomes holds that exactly the sessions exist whose making was acknowledged, and
// that the others failed with words, on one line.
func checkOutcomes(t *testing.T, path string, db *sqlite.DB, closeDB func(), outcomes []error, from int, words string) {
	t.Helper()
	failed := 0
	check := func(db *sqlite.DB, when string) {
		for i, outcome := range outcomes {
			_, err := db.UseSession(t.Context(), storetest.Key(from+i), start, storetest.Idle)
			if (err == nil) != (outcome == nil) {
				t.Errorf("%s, session %d: its making returned %v, and its use %v", when, from+i, outcome, err)
			}
		}
	}
	for _, outcome := range outcomes {
		if outcome == nil {
			continue
		}
		failed++
		text := outcome.Error()
		if !strings.Contains(text, words) || strings.Contains(text, "\n") || strings.Contains(text, "savepoint") {
			t.Errorf("the error is %q", text)
		}
	}
	if failed == 0 {
		t.Error("nothing has failed: the test proves nothing")
	}
	check(db, "at once")
	closeDB()
	db, _ = open(t, path)
	check(db, "after reopening")
}

// TestAFullDiskTakesBackTheWholeBatch fills the database while a batch is written.
func TestAFullDiskTakesBackTheWholeBatch(t *testing.T) {
	for _, room := range []int64{1, 2, 3, 5, 8} {
		t.Run(strconv.FormatInt(room, 10)+" pages are left", func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "latchkey.db")
			db, closeDB := open(t, path)
			pages, err := sqlite.PragmaValues(t.Context(), db, "page_count")
			if err != nil {
				t.Fatal(err)
			}
			count, err := strconv.ParseInt(pages[0], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			if err := sqlite.Pragma(t.Context(), db, "max_page_count", count+room); err != nil {
				t.Fatal(err)
			}
			const n = 120
			outcomes := batch(t, db, n, func(i int) error {
				return db.CreateSession(t.Context(), storetest.NewSession(i, strings.Repeat("u", 100), start))
			})
			if err := db.WriteFailure(); err == nil || !strings.Contains(err.Error(), "the disk is full: free space") {
				t.Errorf("the state of the writes is %v", err)
			}
			if err := sqlite.Pragma(t.Context(), db, "max_page_count", 1<<30); err != nil {
				t.Fatal(err)
			}
			if err := db.CreateSession(t.Context(), storetest.NewSession(n, "u", start)); err != nil {
				t.Errorf("with free space again: %v", err)
			}
			if err := db.WriteFailure(); err != nil {
				t.Errorf("with free space again, the state of the writes is %v", err)
			}
			checkOutcomes(t, path, db, closeDB, outcomes, 0, "the disk is full: free space")
		})
	}
}

// TestAChangeThatFailsTakesBackOnlyItself has no fault of the disk.
func TestAChangeThatFailsTakesBackOnlyItself(t *testing.T) {
	path := filepath.Join(t.TempDir(), "latchkey.db")
	db, closeDB := open(t, path)
	stop := errors.New("stop")
	if err := db.CreateUser(t.Context(), authority.User{Name: "u", PasswordVersion: 1}); err != nil {
		t.Fatal(err)
	}
	outcomes := batch(t, db, 60, func(i int) error {
		if i%3 == 0 {
			_, err := db.UpdateUser(t.Context(), "u", func(user *authority.User) error {
				user.PasswordVersion++
				if i%2 == 0 {
					return stop
				}
				return nil
			})
			return err
		}
		return db.CreateSession(t.Context(), storetest.NewSession(i, "u", start))
	})
	for i, err := range outcomes {
		if want := i%6 == 0; errors.Is(err, stop) != want || !want && err != nil {
			t.Errorf("change %d returned %v", i, err)
		}
	}
	closeDB()
	db, _ = open(t, path)
	if user, err := db.User(context.Background(), "u"); err != nil || user.PasswordVersion&0xffffffff != 11 {
		t.Errorf("the user is at version %d, %v", user.PasswordVersion, err)
	}
	for i := range outcomes {
		if _, err := db.UseSession(t.Context(), storetest.Key(i), start, storetest.Idle); (err == nil) != (i%3 != 0) {
			t.Errorf("session %d: %v", i, err)
		}
	}
}
