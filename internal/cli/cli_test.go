package cli_test

import (
	"bytes"
	"context"
	"io"
	"net/url"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/cli"
	"github.com/latchkey/latchkey/internal/store/sqlite"
)

// screen is the output of a run. It may be read during the run.
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

// run runs one command and fails the test if the exit code is not the expected one.
func run(t *testing.T, code int, input string, args ...string) (out, err string) {
	t.Helper()
	o, e := newScreen(), newScreen()
	if got := cli.Run(t.Context(), cli.IO{In: strings.NewReader(input), Out: o, Err: e}, args...); got != code {
		t.Fatalf("latchkey %s: exit code %d, want %d\n%s%s", strings.Join(args, " "), got, code, o, e)
	}
	return o.String(), e.String()
}

// serve runs the service until the test ends, and returns its URL.
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
	t.Parallel()
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

// Text that an editor or a shell has added to a password is an error. It is not sent.
func TestPasswordsAreUsedUnchangedOrRefused(t *testing.T) {
	t.Parallel()
	data := t.TempDir() + "/data"
	t.Run("with", func(t *testing.T) { serve(t, "--data", data) }) // makes the database
	path := t.TempDir() + "/password"
	for _, test := range []struct{ content, reason string }{
		{"\ufeffcorrect horse\n", "byte order mark"},
		{"\xff\xfec\x00o\x00r\x00\r\x00\n\x00", "UTF-16"},
		{"\xfe\xff\x00c\x00o\x00r\x00\r\x00\n", "UTF-16"},
		{"caf\xe9 au lait\n", "not UTF-8"},
		{"correct\nhorse\n", "more than one line"},
	} {
		if err := os.WriteFile(path, []byte(test.content), 0o600); err != nil {
			t.Fatal(err)
		}
		_, said := run(t, 2, "", "user", "add", "zoe", "--data", data, "--password-file", path)
		has(t, said, path, test.reason, "nothing was sent")
		_, said = run(t, 2, test.content, "user", "add", "zoe", "--data", data, "--password-stdin")
		has(t, said, "standard input", test.reason, "nothing was sent")
	}
	run(t, 0, "correct horse \ufeff battery\r\n", "user", "add", "zoe", "--data", data, "--password-stdin")
}

func TestWeakPasswordsAreRefused(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	data := t.TempDir() + "/data"
	refused := func(t *testing.T) {
		t.Helper()
		_, said := run(t, 3, "IMgr8\n", "user", "add", "zoe", "--data", data, "--password-stdin")
		has(t, said, "fewer than 8 characters")
		_, said = run(t, 3, "Password1\n", "user", "add", "zoe", "--data", data, "--password-stdin")
		has(t, said, "most common")
	}
	t.Run("with a server", func(t *testing.T) {
		serve(t, "--data", data)
		refused(t)
	})
	refused(t)
	t.Run("with a server for tests", func(t *testing.T) {
		serve(t, "--data", data, "--allow-weak-passwords")
		run(t, 0, "IMgr8\n", "user", "add", "zoe", "--data", data, "--password-stdin")
	})
	t.Setenv("LATCHKEY_ALLOW_WEAK_PASSWORDS", "true")
	run(t, 0, "password\n", "user", "set-password", "zoe", "--data", data, "--password-stdin")
}

// A caller cannot choose a text that looks like another part of the line.
func TestAuditLinesEscapeWhatCallersChoose(t *testing.T) {
	t.Parallel()
	data := t.TempDir() + "/data"
	t.Run("with", func(t *testing.T) { serve(t, "--data", data) })
	db, err := sqlite.Open(t.Context(), sqlite.Options{Path: data + "/latchkey.db"})
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for _, e := range []authority.Event{
		{At: at, Kind: authority.EventForwarded, User: "zoe", Method: "GET",
			Path:   (&url.URL{Path: "/api/x 200 1ms)\n2026"}).EscapedPath(),
			Status: 403, Duration: 12 * time.Millisecond, UpstreamID: "u 200 1ms", RequestID: "r1"},
		{At: at, Kind: authority.EventForwarded, User: "zoe  GET /api/z 200 1ms",
			Method: "PUT", Host: "imp.example", Path: "/api/y?<&>", Status: 500, Duration: time.Second},
		{At: at, Kind: authority.EventForwardRefused, User: "zoe",
			Method: "G T", Path: "/api/w", Status: 405, Duration: time.Millisecond, Count: 49},
	} {
		if err := db.AppendAudit(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	out, _ := run(t, 0, "", "audit", "--data", data)
	has(t, out, "  zoe  GET /api/x%20200%201ms%29%0A2026 403 12ms  request r1  upstream u%20200%201ms\n",
		`  "zoe  GET /api/z 200 1ms"  PUT imp.example/api/y?<&> 500 1000ms`, "  zoe  G%20T /api/w 405 1ms  49 times")
	out, _ = run(t, 0, "", "audit", "--json", "--data", data)
	has(t, out, `"method":"GET","path":"/api/x%20200%201ms%29%0A2026","status":403,"durationMs":12,`+
		`"upstreamRequestId":"u%20200%201ms"}`,
		`"method":"PUT","host":"imp.example","path":"/api/y?<&>","status":500,"durationMs":1000}`, `"count":49}`)
}

func TestErrorsNameTheCorrection(t *testing.T) {
	t.Parallel()
	_, said := run(t, 2, "", "sesion")
	has(t, said, "did you mean latchkey session")
	_, said = run(t, 2, "", "serve", "--no-such-flag")
	has(t, said, "no-such-flag")
	_, said = run(t, 2, "", "serve", "--demo", "--listen", "0.0.0.0:0")
	has(t, said, "password of --demo is public", "nothing was done")
	out, _ := run(t, 0, "", "serve", "--help")
	has(t, out, "latchkey serve --demo", "LATCHKEY_LISTEN")
}
