package latchtest_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/keeper"
	"github.com/latchkey/latchkey/latchtest"
)

// inventory is a program with a keeper.
type inventory struct {
	keeper *keeper.Keeper
	url    string
}

func newInventory(t *testing.T, url, apiKey string, apiSecret latchkey.Secret, user string, password latchkey.Secret,
	now func() time.Time, state keeper.State,
) *inventory {
	t.Helper()
	client, err := latchkey.NewClient(latchkey.Config{BaseURL: url, APIKey: apiKey, APISecret: apiSecret, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	k, err := keeper.New(keeper.Config{
		Upstream: client, Credential: keeper.Static(user, password), State: state,
		Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := k.Close(context.Background()); err != nil {
			t.Error(err)
		}
		client.CloseIdleConnections()
	})
	return &inventory{keeper: k, url: url}
}

// Refresh gets the devices.
func (p *inventory) Refresh(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+"/api/m2m/v1/devices/1", nil)
	if err != nil {
		return err
	}
	resp, err := p.keeper.HTTPClient().Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.Copy(io.Discard, resp.Body)
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("inventory: %s", resp.Status)
	}
	return nil
}

// TestOfTheTestingPage is the test in docs/testing.md; the next test compares them.
func TestOfTheTestingPage(t *testing.T) {
	New := func(url, apiKey string, apiSecret latchkey.Secret, user string, password latchkey.Secret,
		now func() time.Time) *inventory {
		return newInventory(t, url, apiKey, apiSecret, user, password, now, keeper.NewMemoryState())
	}
	// docs/testing.md begins
	service := latchtest.NewServer(t) // ends with the test
	program := New(service.URL, latchtest.APIKey, latchtest.APISecret, latchtest.User, latchtest.Password,
		service.Now) // its latchkey.Config.Now, which its keeper follows

	for range 3 {
		if err := program.Refresh(t.Context()); err != nil { // GET /api/m2m/v1/devices/…
			t.Fatal(err)
		}
	}
	service.Advance(20 * time.Minute) // now the session is dead
	if err := program.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := service.Count(latchtest.EventLogIn); n != 2 {
		t.Errorf("%d logins, not 2", n)
	}

	// A login whose response is lost must not lead to more logins that lock the account.
	service.Advance(time.Minute)
	service.ExpireSessions(latchtest.User)
	service.Inject(latchtest.LogIn, latchtest.DropAfter(), 1)
	_ = program.Refresh(t.Context())
	if failures, locked := service.Strikes(latchtest.User); failures > 1 || locked {
		t.Errorf("%d strikes, locked: %v", failures, locked)
	}
	service.Advance(time.Minute) // the pause after a failure is over
	if err := program.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	// docs/testing.md ends
}

func TestTheTestingPageShowsTheTestAbove(t *testing.T) {
	page, err := os.ReadFile("../docs/testing.md")
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("testingpage_test.go")
	if err != nil {
		t.Fatal(err)
	}
	_, body, _ := strings.Cut(string(source), "// docs/testing.md begins\n")
	body, _, found := strings.Cut(body, "\t// docs/testing.md ends\n")
	if !found || !strings.Contains(string(page), body) {
		t.Error("the test in docs/testing.md is not the one above")
	}
}

// The clock of the service decides everything that a keeper waits for.
func TestAKeeperFollowsTheClockOfTheService(t *testing.T) {
	file := func() keeper.State {
		state, err := keeper.NewFileState(filepath.Join(t.TempDir(), "state"))
		if err != nil {
			t.Fatal(err)
		}
		return state
	}
	for name, run := range map[string]func(t *testing.T){
		"state in memory": func(t *testing.T) { follow(t, latchtest.NewServer(t), keeper.NewMemoryState()) },
		"state in a file": func(t *testing.T) { follow(t, latchtest.NewServer(t), file()) },
		"long ago": func(t *testing.T) {
			follow(t, latchtest.NewServer(t, latchtest.At(time.Date(2021, 3, 14, 1, 59, 26, 0, time.UTC))), file())
		},
		"far ahead": func(t *testing.T) {
			follow(t, latchtest.NewServer(t, latchtest.At(time.Date(2061, 7, 28, 0, 0, 0, 0, time.UTC))), file())
		},
	} {
		t.Run(name, run)
	}
}

func follow(t *testing.T, service *latchtest.Server, state keeper.State) {
	program := newInventory(t, service.URL, latchtest.APIKey, latchtest.APISecret, latchtest.User, latchtest.Password,
		service.Now, state)
	refresh := func(want bool) {
		t.Helper()
		if err := program.Refresh(t.Context()); (err == nil) != want {
			t.Errorf("got %v, want success: %t", err, want)
		}
	}
	refresh(true)
	for _, step := range []struct {
		ahead   time.Duration
		logIns  int
		bearers uint64
	}{{19 * time.Minute, 1, 1}, {19 * time.Minute, 1, 1}, {20 * time.Minute, 2, 1}, {2 * time.Hour, 3, 2},
		{20 * 365 * 24 * time.Hour / 4, 4, 3}} {
		service.Advance(step.ahead)
		refresh(true)
		if n := service.Count(latchtest.EventLogIn); n != step.logIns {
			t.Errorf("%d logins after another %v, want %d", n, step.ahead, step.logIns)
		}
		stats := program.keeper.Stats()
		if stats[keeper.EventBearer] != step.bearers || stats[keeper.EventReplay] != 0 {
			t.Errorf("%d bearers and %d requests that were refused, want %d and none", stats[keeper.EventBearer],
				stats[keeper.EventReplay], step.bearers)
		}
	}
	// A password that was changed behind its back, and is put right again.
	service.SetPassword(latchtest.User, "changed")
	service.Advance(20 * time.Minute)
	refresh(false)
	service.SetPassword(latchtest.User, latchtest.Password)
	refresh(false)
	if failures, _ := service.Strikes(latchtest.User); failures != 1 {
		t.Errorf("%d strikes, want the one of the changed password", failures)
	}
	if err := program.keeper.ResetGuard(t.Context()); err != nil {
		t.Fatal(err)
	}
	refresh(true)
}
