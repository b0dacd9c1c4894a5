package cli_test

import (
	"bytes"
	"context"
	"io"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/cli"
)

// screen is what a run wrote, safe to read while it writes.
type screen struct {
	mu      sync.Mutex
	text    bytes.Buffer
	written chan struct{} // gets a token when something was written
}

func newScreen() *screen { return &screen{written: make(chan struct{}, 1)} }

func (s *screen) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case s.written <- struct{}{}:
	default:
	}
	return s.text.Write(b)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// waitFor returns what the pattern's group matched once it appears.
func (s *screen) waitFor(t *testing.T, pattern string) string {
	t.Helper()
	limit := time.After(20 * time.Second)
	for {
		if found := regexp.MustCompile(pattern).FindStringSubmatch(s.String()); found != nil {
			return found[1]
		}
		select {
		case <-s.written:
		case <-limit:
			t.Fatalf("%q did not appear in:\n%s", pattern, s)
		}
	}
}

// run runs one command and holds it to its exit code.
func run(t *testing.T, code int, input string, args ...string) (out, err string) {
	t.Helper()
	o, e := newScreen(), newScreen()
	if got := cli.Run(t.Context(), cli.IO{In: strings.NewReader(input), Out: o, Err: e}, args...); got != code {
		t.Fatalf("latchkey %s: exit code %d, want %d\n%s%s", strings.Join(args, " "), got, code, o, e)
	}
	return o.String(), e.String()
}

// serve runs the service until the test ends, and answers its URL.
func serve(t *testing.T, args ...string) string {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	said, ended := newScreen(), make(chan int, 1)
	go func() {
		ended <- cli.Run(ctx, cli.IO{In: strings.NewReader(""), Out: io.Discard, Err: said},
			append([]string{"serve", "--listen", "127.0.0.1:0"}, args...)...)
	}()
	t.Cleanup(func() {
		stop()
		if code := <-ended; code != 0 {
			t.Errorf("serve ended with %d\n%s", code, said)
		}
	})
	return said.waitFor(t, `(http://127\.0\.0\.1:\d+)`)
}

func has(t *testing.T, text string, words ...string) {
	t.Helper()
	for _, word := range words {
		if !strings.Contains(text, word) {
			t.Errorf("%q is missing in:\n%s", word, text)
		}
	}
}

func TestDemoFromLoginToLogout(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	data := t.TempDir() + "/data"
	t.Setenv("LATCHKEY_URL", serve(t, "--demo", "--data", data))
	t.Setenv("LATCHKEY_API_KEY", "demo-key")
	t.Setenv("LATCHKEY_API_SECRET", "demo-secret")
	t.Setenv("LATCHKEY_USER", "zbeeblebrox")

	_, said := run(t, 3, "wrong\n", "login", "--password-stdin")
	if strings.Contains(said, "wrong\n") {
		t.Errorf("the password is shown: %s", said)
	}
	run(t, 0, "IMgr8\n", "login", "--password-stdin")
	out, _ := run(t, 0, "", "request", "GET", "/latchkey/v1/session")
	has(t, out, `"user":"zbeeblebrox"`)
	out, _ = run(t, 0, "", "session", "list", "--data", data)
	has(t, out, "zbeeblebrox")
	run(t, 0, "", "logout")
	run(t, 4, "", "request", "GET", "/latchkey/v1/session")
	out, _ = run(t, 0, "", "audit", "--data", data)
	has(t, out, "login-failed", "login", "logout")
}

func TestAdministrationWithAndWithoutAServer(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	data := t.TempDir() + "/data"
	t.Run("with", func(t *testing.T) {
		serve(t, "--data", data)
		run(t, 0, "", "user", "add", "zoe", "--data", data)
		run(t, 0, "", "client", "add", "dispatch", "--data", data)
		_, said := run(t, 3, "", "user", "add", "zoe", "--data", data)
		has(t, said, "zoe", "exists")
	})
	out, _ := run(t, 0, "", "user", "list", "--data", data)
	has(t, out, "zoe", "active")
	run(t, 0, "", "user", "lock", "zoe", "--data", data)
	out, _ = run(t, 0, "", "user", "list", "--json", "--data", data)
	has(t, out, `"zoe"`, "locked")
}

func TestMistakesAreExplained(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	_, said := run(t, 2, "", "sesion")
	has(t, said, "did you mean latchkey session")
	_, said = run(t, 2, "", "serve", "--no-such-flag")
	has(t, said, "no-such-flag")
	_, said = run(t, 2, "", "serve", "--demo", "--listen", "0.0.0.0:0")
	has(t, said, "known to everybody", "nothing was done")
	out, _ := run(t, 0, "", "serve", "--help")
	has(t, out, "latchkey serve --demo", "LATCHKEY_LISTEN")
}
