package cli_test

import (
	"bytes"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/internal/cli"
)

// movedClock is the clock of a service, at so much after its start.
type movedClock struct{ after atomic.Int64 }

func (c *movedClock) set(after time.Duration) { c.after.Store(int64(after)) }

func (c *movedClock) now() time.Time {
	return time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC).Add(time.Duration(c.after.Load()))
}

func TestACleanRestartKeepsAcknowledgedChanges(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), "data")
	var clock movedClock
	var config latchkey.Config
	var api *latchkey.Client
	up := func() (stop func()) {
		t.Helper()
		s, err := start(cli.IO{Now: clock.now}, "serve", "--listen", "127.0.0.1:0", "--data", data)
		if err != nil {
			t.Fatal(err)
		}
		if config.APIKey == "" {
			config = addClient(t, data)
		}
		config.BaseURL = s.url
		if api, err = latchkey.NewClient(config); err != nil {
			t.Fatal(err)
		}
		return func() {
			t.Helper()
			api.CloseIdleConnections()
			if code := s.stop(); code != 0 {
				t.Errorf("the service ended with %d\n%s", code, s.log)
			}
		}
	}
	ctx := t.Context()
	want := func(what string, err, want error) {
		t.Helper()
		if !errors.Is(err, want) {
			t.Errorf("%s returned %v, want %v", what, err, want)
		}
	}
	fail := func(name string, times int) {
		t.Helper()
		for range times {
			_, err := api.LogIn(ctx, name, "a wrong one")
			want("a wrong password of "+name, err, latchkey.ErrInvalidCredentials)
		}
	}

	stop := up()
	zoe, ford := addAccount(t, data, "zoe"), addAccount(t, data, "ford")
	var sessions [3]latchkey.Secret
	for i := range sessions {
		var err error
		sessions[i], err = api.LogIn(ctx, "zoe", zoe.password)
		want("a login", err, nil)
	}
	idle, used, ended := sessions[0], sessions[1], sessions[2]
	want("a logout", api.LogOut(ctx, ended), nil)
	fail("zoe", 3)
	fail("ford", strikes)
	bearer, err := api.AccessToken(ctx)
	want("an access token", err, nil)
	clock.set(10 * time.Minute)
	want("a session in use", useSession(ctx, api, used), nil)
	stop()

	clock.set(21 * time.Minute)
	stop = up()
	if again, err := api.AccessToken(ctx); err != nil || !again.Token.Equal(bearer.Token) {
		t.Errorf("after a restart the hour's access token is another one (%v)", err)
	}
	want("a session used 11 minutes ago", useSession(ctx, api, used), nil)
	want("a session idle for 21 minutes", useSession(ctx, api, idle), latchkey.ErrSessionExpired)
	want("a session that was ended", useSession(ctx, api, ended), latchkey.ErrSessionExpired)
	_, err = api.LogIn(ctx, "ford", ford.password)
	want("a login of who was locked", err, latchkey.ErrAccountLocked)
	fail("zoe", 2)
	stop()

	clock.set(41*time.Minute - time.Second)
	stop = up()
	_, err = api.LogIn(ctx, "zoe", zoe.password)
	want("a login after three failures before a restart and two behind it", err, latchkey.ErrAccountLocked)
	want("a session used 20 minutes ago but for a second", useSession(ctx, api, used), nil)
	run(t, 0, "", "user", "unlock", "zoe", "--data", data)
	_, err = api.LogIn(ctx, "zoe", zoe.password)
	want("a login after the unlock", err, nil)
	stop()

	clock.set(61*time.Minute - time.Second)
	stop = up()
	want("a session used 20 minutes ago", useSession(ctx, api, used), latchkey.ErrSessionExpired)
	if again, err := api.AccessToken(ctx); err != nil || again.Token.Equal(bearer.Token) {
		t.Errorf("after an hour the access token is the same (%v)", err)
	}
	stop()
}

// TestServeRefusesADatabaseThatItCannotUse requires one line with a hint, and unchanged
// files.
func TestServeRefusesADatabaseThatItCannotUse(t *testing.T) {
	t.Parallel()
	directory := func() string { return filepath.Join(t.TempDir(), "data") }

	inUse := directory()
	serve(t, "--data", inUse)

	newer := directory()
	s, err := start(cli.IO{}, "serve", "--listen", "127.0.0.1:0", "--data", newer)
	if err != nil {
		t.Fatal(err)
	}
	s.stop()
	db, err := sql.Open("sqlite", filepath.Join(newer, "latchkey.db"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec("INSERT INTO goose_db_version (version_id, is_applied) VALUES (999, 1)"); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}

	none := t.TempDir()
	text := strings.Repeat("this is not a database\n", 100)
	if err := os.WriteFile(filepath.Join(none, "latchkey.db"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	unwritable := t.TempDir()
	if err := os.Chmod(unwritable, 0o500); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		unwritable = "/proc/self" // root may write anywhere else
	}
	tests := []struct {
		name, data string
		words      []string
	}{
		{"in use", inUse, []string{"in use by another latchkey server", "stop that server first"}},
		{"newer", newer, []string{"made by a newer latchkey", "start the newer latchkey, or restore a backup"}},
		{"none", none, []string{"file is not a database", "check that it is a latchkey database"}},
		{"below a file", filepath.Join(none, "latchkey.db"), []string{"not a directory", "--data"}},
		{"unwritable", unwritable, []string{"cannot be written to", "run as its owner, or choose another one with --data"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			file := filepath.Join(test.data, "latchkey.db")
			before, _ := os.ReadFile(file) // where there is one
			_, said := run(t, 1, "", "serve", "--listen", "127.0.0.1:0", "--data", test.data)
			has(t, said, append(test.words, test.data, "; nothing was ")...)
			if !regexp.MustCompile(`^latchkey: .*\n(hint: .*\n)*$`).MatchString(said) {
				t.Errorf("not one line and hints:\n%s", said)
			}
			if after, _ := os.ReadFile(file); !bytes.Equal(before, after) {
				t.Error("the file was changed")
			}
		})
	}
}
