package cli_test

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/credential"
	"github.com/latchkey/latchkey/internal/cli"
	"github.com/latchkey/latchkey/keeper"
	"github.com/latchkey/latchkey/latchtest"
)

// A device whose clock was ahead has left a strike, or a session that was refused
// immediately. `guard status` shows the reason and the end of the wait, which is no later
// than the wait takes from now. `guard reset` ends the wait.
func TestGuardShowsAndEndsWaitsAfterAClockWasAhead(t *testing.T) {
	t.Parallel()
	for name, trouble := range map[string]func(*testing.T, *latchtest.Server, *keeper.Keeper){
		"a strike": func(_ *testing.T, service *latchtest.Server, _ *keeper.Keeper) {
			service.Inject(latchtest.LogIn, latchtest.DropAfter(), 1)
		},
		"a refused session": func(t *testing.T, service *latchtest.Server, k *keeper.Keeper) {
			tokens, err := k.Tokens(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			service.ExpireSessions(latchtest.User)
			k.Invalidate(tokens.Session)
		},
	} {
		for _, ahead := range []time.Duration{0, 10 * time.Minute, 20 * 365 * 24 * time.Hour} {
			t.Run(name+", "+ahead.String()+" ahead", func(t *testing.T) {
				guardAfter(t, ahead, trouble)
			})
		}
	}
}

func guardAfter(t *testing.T, ahead time.Duration, trouble func(*testing.T, *latchtest.Server, *keeper.Keeper)) {
	right := time.Now()
	service := latchtest.NewServer(t, latchtest.At(right.Add(ahead)))
	file := filepath.Join(t.TempDir(), "upstream.json")
	store, err := credential.NewFile(credential.FileConfig{Path: file})
	if err == nil {
		_, err = store.Save(t.Context(), credential.Credential{User: latchtest.User, Password: latchtest.Password})
	}
	if err != nil {
		t.Fatal(err)
	}
	board := func(now func() time.Time) *keeper.Keeper {
		state, err := keeper.NewFileState(file + ".state")
		if err != nil {
			t.Fatal(err)
		}
		k, err := keeper.New(keeper.Config{
			Upstream: service.Client, Credential: store, State: state, Now: now, Log: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = k.Close(t.Context()) })
		return k
	}
	k := board(service.Now)
	trouble(t, service, k)
	if _, err := k.Tokens(t.Context()); err == nil {
		t.Fatal("there are tokens in spite of the trouble")
	}
	run := func(args ...string) (string, int) {
		var out bytes.Buffer
		streams := cli.IO{In: strings.NewReader(""), Out: &out, Err: io.Discard, Now: func() time.Time { return right }}
		code := cli.Run(t.Context(), streams, append(args, "--url", service.URL, "--credential-file", file)...)
		return out.String(), code
	}
	text, code := run("guard", "status")
	if code != 0 || !strings.Contains(text, "waiting") || !strings.Contains(text, "(in ") {
		t.Errorf("guard status exits with %d and says %s", code, text)
	}
	text, _ = run("guard", "status", "--json")
	var shown struct {
		Waiting      string
		WaitingUntil time.Time
		Strikes      int
	}
	if err := json.Unmarshal([]byte(text), &shown); err != nil || shown.Waiting == "" ||
		shown.WaitingUntil.Sub(right) <= 0 || shown.WaitingUntil.Sub(right) > time.Minute {
		t.Errorf("guard status --json says %s (%v)", text, err)
	}
	if text, code := run("guard", "reset", "--yes"); code != 0 {
		t.Errorf("guard reset exits with %d: %s", code, text)
	}
	if text, _ := run("guard", "status"); strings.Contains(text, "waiting") {
		t.Errorf("after the reset, guard status says %s", text)
	}
	service.ExpireSessions(latchtest.User)
	var tokens keeper.Tokens
	tokens, err = board(func() time.Time { return right }).Tokens(t.Context())
	if err != nil || tokens.Session == latchkey.Secret("") {
		t.Errorf("after the reset: %v", err)
	}
}

// A client command trusts that a session is live if it was used a moment ago, but not if
// the stored time is in the future.
func TestALoginTimeInTheFutureIsIgnored(t *testing.T) {
	right := time.Now()
	service := latchtest.NewServer(t)
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	t.Setenv("LATCHKEY_API_SECRET", latchtest.APISecret.Reveal())
	logIn := func(ahead time.Duration) (string, int) {
		var told bytes.Buffer
		streams := cli.IO{
			In: strings.NewReader(latchtest.Password.Reveal()), Out: io.Discard, Err: &told,
			Now: func() time.Time { return right.Add(ahead) },
		}
		code := cli.Run(t.Context(), streams, "login", "--url", service.URL, "--api-key", latchtest.APIKey,
			"--user", latchtest.User, "--password-stdin")
		return told.String(), code
	}
	for _, step := range []struct {
		ahead time.Duration
		code  int
	}{{20 * 365 * 24 * time.Hour, 0}, {0, 0}, {time.Minute, 1}, {-30 * time.Second, 1}, {-time.Hour, 0}} {
		if text, code := logIn(step.ahead); code != step.code {
			t.Errorf("%v ahead: login exits with %d, want %d: %s", step.ahead, code, step.code, text)
		}
	}
}
