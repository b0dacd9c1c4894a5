package sqlite_test

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/store/sqlite"
	"github.com/latchkey/latchkey/internal/store/storetest"
)

// crashed copies the files of a database that is open, as a process leaves them that is
// killed, and opens the copy.
func crashed(t *testing.T, path string, options sqlite.Options) *sqlite.DB {
	t.Helper()
	options.Path = filepath.Join(t.TempDir(), "latchkey.db")
	files, err := filepath.Glob(path + "*")
	if err != nil || len(files) < 3 {
		t.Fatalf("the files are %v, %v", files, err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err == nil {
			err = os.WriteFile(options.Path+strings.TrimPrefix(file, path), data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	db, err := sqlite.Open(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return db
}

// TestAUseSurvivesACrash uses sessions seldom, kills the process at once, and goes on with
// what is left.
func TestAUseSurvivesACrash(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ idle, ahead, gap time.Duration }{
		"a short idle timeout":     {4 * time.Second, time.Second, 3900 * time.Millisecond},
		"the default":              {20 * time.Minute, 5 * time.Minute, 19 * time.Minute},
		"a session used all along": {4 * time.Second, time.Second, 300 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			const n = 20
			options := sqlite.Options{Path: filepath.Join(t.TempDir(), "latchkey.db"), SlideAhead: c.ahead}
			db, err := sqlite.Open(t.Context(), options)
			if err != nil {
				t.Fatal(err)
			}
			for i := range n {
				if err := db.CreateSession(t.Context(), storetest.NewSession(i, "u", start)); err != nil {
					t.Fatal(err)
				}
			}
			path, now := options.Path, start
			for round := range 6 {
				now = now.Add(c.gap)
				for i := range n {
					if _, err := db.UseSession(t.Context(), storetest.Key(i), now, c.idle); err != nil {
						t.Fatalf("round %d, session %d: %v", round, i, err)
					}
				}
				if round == 2 { // a clean end in between
					if err := db.Close(t.Context()); err != nil {
						t.Fatal(err)
					}
					left, err := filepath.Glob(path + "-*")
					if err != nil || len(left) > 0 {
						t.Errorf("a clean end leaves %v, %v", left, err)
					}
					if db, err = sqlite.Open(t.Context(), sqlite.Options{Path: path, SlideAhead: c.ahead}); err != nil {
						t.Fatal(err)
					}
					continue
				}
				after := crashed(t, path, options)
				late := crashed(t, path, options)
				for i := range n {
					_, err := after.UseSession(t.Context(), storetest.Key(i), now.Add(c.idle-time.Microsecond), c.idle)
					if err != nil {
						t.Errorf("round %d: session %d has expired early: %v", round, i, err)
					}
					if _, err := late.UseSession(t.Context(), storetest.Key(i), now.Add(c.idle+c.ahead), c.idle); err == nil {
						t.Errorf("round %d: session %d lives longer than it may", round, i)
					}
				}
			}
			if err := db.Close(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestADamagedLogOfUses has records that are no records.
func TestADamagedLogOfUses(t *testing.T) {
	options := sqlite.Options{Path: filepath.Join(t.TempDir(), "latchkey.db"), SlideAhead: time.Second}
	db, err := sqlite.Open(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close(context.Background()) }()
	if err := db.CreateSession(t.Context(), storetest.NewSession(1, "u", start)); err != nil {
		t.Fatal(err)
	}
	used := start.Add(10 * time.Minute)
	if _, err := db.UseSession(t.Context(), storetest.Key(1), used, storetest.Idle); err != nil {
		t.Fatal(err)
	}
	for _, junk := range []string{"half a record", strings.Repeat("j", 1000)} {
		files, err := filepath.Glob(options.Path + "-uses*")
		if err != nil || len(files) != 2 {
			t.Fatalf("the files are %v, %v", files, err)
		}
		for _, name := range files {
			file, err := os.OpenFile(name, os.O_APPEND|os.O_WRONLY, 0)
			if err == nil {
				_, err = file.WriteString(junk)
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := file.Close(); err != nil {
				t.Fatal(err)
			}
			if info, err := os.Stat(name); err != nil || info.Mode() != fs.FileMode(0o600) {
				t.Errorf("%s has the mode %v, %v", name, info.Mode(), err)
			}
		}
		after := crashed(t, options.Path, options)
		last := used.Add(storetest.Idle - time.Microsecond)
		if _, err := after.UseSession(t.Context(), storetest.Key(1), last, storetest.Idle); err != nil {
			t.Errorf("with %d bytes of junk, the use is lost: %v", len(junk), err)
		}
	}
}
