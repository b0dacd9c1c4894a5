package cli_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/latchkey/latchkey"
)

// TestCrashKill9OverHTTP kills a serving process in a loop with kill -9, while clients log
// in, fail to log in, log out, reset passwords and use their sessions. It then checks the
// next process: acknowledged operations persist, and operations without a response were
// executed completely or not at all.
func TestCrashKill9OverHTTP(t *testing.T) {
	t.Parallel()
	rounds := 3
	if os.Getenv("LATCHKEY_SOAK") != "" {
		rounds = 500
	}
	data := filepath.Join(t.TempDir(), "data")
	var accounts []*account
	var config latchkey.Config
	var bearer latchkey.Secret
	steps, doubts := 0, 0
	for round := range rounds {
		v := startVictim(t, data)
		if round == 0 {
			config = addClient(t, data)
			for i := range 6 {
				accounts = append(accounts, addAccount(t, data, fmt.Sprint("user", i)))
			}
		}
		config.BaseURL = v.url
		api, err := latchkey.NewClient(config)
		if err != nil {
			t.Fatal(err)
		}
		token, err := api.AccessToken(t.Context())
		if err != nil || round > 0 && !token.Token.Equal(bearer) {
			t.Fatalf("round %d: the hour's access token is another one after a crash (%v)", round, err)
		}
		bearer = token.Token
		doubts += inspect(t, api, data, accounts)
		steps += v.workAndKill(t, api, accounts, 30+rand.IntN(200))
		api.CloseIdleConnections()
		if round%3 == 2 { // beside the database that the killed process left, and its socket
			out, _ := run(t, 0, "", "user", "list", "--data", data)
			has(t, out, "user0", "user5")
		}
		if t.Failed() {
			t.Fatalf("round %d of %d failed", round+1, rounds)
		}
	}
	t.Logf("%d rounds, %d steps acknowledged, %d resets whose answer was lost", rounds, steps, doubts)
}

// victim is a service in a separate process, to be killed.
type victim struct {
	command *exec.Cmd
	url     string
	said    *screen
	lines   chan string // closed when all it said was read
	killed  atomic.Bool
}

var victimURL = regexp.MustCompile(`serves the session API on (\S+)`)

// startVictim starts this program as `latchkey serve` and waits until it
// listens.
func startVictim(t *testing.T, data string, flags ...string) *victim {
	t.Helper()
	v := &victim{said: newScreen(), lines: make(chan string, 1)}
	v.command = exec.Command("latchkey", append([]string{"serve", "--data", data, "--listen", "127.0.0.1:0"}, flags...)...)
	output, err := v.command.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := v.command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = v.command.Process.Kill() // if a test ended early
		_ = v.command.Wait()
	})
	go func() {
		defer close(v.lines)
		for lines := bufio.NewScanner(output); lines.Scan(); {
			_, _ = io.WriteString(v.said, lines.Text()+"\n")
			if match := victimURL.FindStringSubmatch(lines.Text()); match != nil {
				v.lines <- match[1]
			}
		}
	}()
	if v.url = <-v.lines; v.url == "" {
		t.Fatalf("the service does not start:\n%s", v.said)
	}
	return v
}

// workAndKill runs one client for each account and kills the process after a number of
// acknowledged steps. It returns the number of acknowledged steps.
func (v *victim) workAndKill(t *testing.T, api *latchkey.Client, accounts []*account, killAt int) int {
	t.Helper()
	acknowledged := make(chan struct{})
	var clients sync.WaitGroup
	for _, a := range accounts {
		clients.Go(func() {
			for {
				err := a.step(context.Background(), api)
				if v.killed.Load() && isUnanswered(err) {
					return
				}
				if err != nil {
					t.Errorf("%s: %v", a.name, err)
					return
				}
				acknowledged <- struct{}{}
			}
		})
	}
	go func() {
		clients.Wait()
		close(acknowledged)
	}()
	steps := 0
	for range acknowledged {
		if steps++; steps == killAt {
			v.killed.Store(true)
			if err := v.command.Process.Kill(); err != nil {
				t.Error(err)
			}
		}
	}
	if steps < killAt { // the clients gave up
		_ = v.command.Process.Kill()
		t.Errorf("only %d of %d steps were acknowledged; the service said:\n%s", steps, killAt, v.said)
	}
	<-v.lines
	if err := v.command.Wait(); err == nil {
		t.Error("the process ended by itself")
	}
	for _, defect := range []string{"DATA RACE", "panic", "level=ERROR"} {
		if strings.Contains(v.said.String(), defect) {
			t.Errorf("before it was killed the service said:\n%s", v.said)
		}
	}
	return steps
}

// inspect compares the state of the service after a crash with what its clients know, and
// determines the outcomes that were unknown. It returns how many passwords were in doubt.
func inspect(t *testing.T, api *latchkey.Client, data string, accounts []*account) (doubts int) {
	t.Helper()
	out, _ := run(t, 0, "", "user", "list", "--json", "--data", data)
	var users []struct {
		Name, State string
		Failures    int
	}
	if err := json.Unmarshal([]byte(out), &users); err != nil {
		t.Fatal(err, out)
	}
	if len(users) != len(accounts) {
		t.Errorf("there are %d users, and %d were added", len(users), len(accounts))
	}
	known := map[string]int{}
	for _, u := range users {
		known[u.Name] = u.Failures
		if u.State == "locked" {
			known[u.Name] = strikes
		}
	}
	for _, a := range accounts {
		failures, there := known[a.name]
		if !there {
			t.Errorf("%s was added and is gone", a.name)
			continue
		}
		if err := a.settleFailures(failures); err != nil {
			t.Error(err)
		}
		if err := a.checkSessions(t.Context(), api); err != nil {
			t.Error(err)
		}
		if failures == strikes {
			run(t, 0, "", "user", "unlock", a.name, "--data", data)
			a.failures = []int{0}
		}
		lost, err := a.checkPasswords(t.Context(), api)
		if err != nil {
			t.Error(err)
		}
		if a.inDoubt {
			doubts++
		}
		if lost {
			out, _ := run(t, 0, "", "user", "set-password", a.name, "--data", data)
			a.changed(latchkey.Secret(strings.TrimSpace(out)), "")
		}
		a.inDoubt = false
	}
	return doubts
}

// addClient adds an API client with the command line.
func addClient(t *testing.T, data string) latchkey.Config {
	t.Helper()
	out, _ := run(t, 0, "", "client", "add", "crash", "--data", data)
	found := regexp.MustCompile(`^LATCHKEY_API_KEY=(\S+)\nLATCHKEY_API_SECRET=(\S+)\n$`).FindStringSubmatch(out)
	if found == nil {
		t.Fatalf("client add said %q", out)
	}
	return latchkey.Config{APIKey: found[1], APISecret: latchkey.Secret(found[2])}
}

// addAccount adds a user with the command line.
func addAccount(t *testing.T, data, name string) *account {
	t.Helper()
	out, _ := run(t, 0, "", "user", "add", name, "--data", data)
	return &account{
		name: name, password: latchkey.Secret(strings.TrimSpace(out)), failures: []int{0},
		sessions: map[latchkey.Secret]fate{},
	}
}
