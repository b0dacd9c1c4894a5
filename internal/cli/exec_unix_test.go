//go:build unix

package cli_test

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/latchkey/latchkey/internal/wire"
)

// demo runs a service with the demo's accounts, and names it to the commands.
func demo(t *testing.T) {
	t.Helper()
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	t.Setenv("LATCHKEY_URL", serve(t, "--demo", "--data", t.TempDir()+"/data"))
	t.Setenv("LATCHKEY_API_KEY", "demo-key")
	t.Setenv("LATCHKEY_API_SECRET", "demo-secret")
	t.Setenv("LATCHKEY_USER", "zbeeblebrox")
	password := t.TempDir() + "/password"
	if err := os.WriteFile(password, []byte("IMgr8\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("LATCHKEY_PASSWORD_FILE", password)
}

// executing is `latchkey exec` as a process that runs.
type executing struct {
	*exec.Cmd
	t   *testing.T
	in  io.WriteCloser
	out *bufio.Scanner
	err *bytes.Buffer
}

func startExec(t *testing.T, args ...string) *executing {
	t.Helper()
	e := &executing{exec.Command("latchkey", append([]string{"exec"}, args...)...), t, nil, nil, &bytes.Buffer{}}
	e.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0")
	e.Stderr = e.err
	e.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // no terminal takes part in the signals
	in, err := e.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := e.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	e.in, e.out = in, bufio.NewScanner(out)
	if err := e.Start(); err != nil {
		t.Fatal(err)
	}
	return e
}

func (e *executing) line() string {
	e.t.Helper()
	if !e.out.Scan() {
		_ = e.Wait()
		e.t.Fatalf("the command wrote no further line: %s", e.err)
	}
	return e.out.Text()
}

// code waits for the end.
func (e *executing) code() int {
	e.t.Helper()
	for e.out.Scan() { // Wait closes the pipe
	}
	var exit *exec.ExitError
	if err := e.Wait(); err != nil && !errors.As(err, &exit) {
		e.t.Fatal(err)
	}
	return e.ProcessState.ExitCode()
}

// works reports whether the service accepts the tokens.
func works(t *testing.T, access, session string) bool {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), "GET", os.Getenv("LATCHKEY_URL")+wire.PathVerify, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+access)
	request.Header.Set(wire.HeaderSessionToken, session)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	return response.StatusCode < 300
}

// tell prints the variables that a command gets, and waits for a line.
const tell = `echo "$LATCHKEY_URL"; echo "$LATCHKEY_ACCESS_TOKEN"; echo "$LATCHKEY_SESSION_TOKEN"; ` +
	`echo "${LATCHKEY_API_SECRET-none}"; echo "$0 $*"; read go; exit 7`

func TestExecLogsInAndEndsItsSession(t *testing.T) {
	demo(t)
	e := startExec(t, "--", "sh", "-c", tell, "name", "--flag", "--")
	url, access, session := e.line(), e.line(), e.line()
	if url != os.Getenv("LATCHKEY_URL") || !works(t, access, session) {
		t.Errorf("the tokens are not good: %s %s %s", url, access, session)
	}
	if line := e.line(); line != "none" {
		t.Errorf("the API secret is passed on: %s", line)
	}
	if line := e.line(); line != "name --flag --" {
		t.Errorf("the arguments are %q", line)
	}
	err := filepath.WalkDir(os.Getenv("XDG_STATE_HOME"), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if bytes.Contains(text, []byte(session)) || bytes.Contains(text, []byte(access)) {
			t.Errorf("a token is in %s", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	if arguments, err := os.ReadFile("/proc/self/cmdline"); err == nil && len(arguments) > 0 {
		lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range lines {
			text, err := os.ReadFile(path)
			if err == nil && (bytes.Contains(text, []byte(session)) || bytes.Contains(text, []byte("IMgr8"))) {
				t.Errorf("a secret is in %s: %q", path, text)
			}
		}
	}
	if _, err := io.WriteString(e.in, "\n"); err != nil {
		t.Fatal(err)
	}
	if code := e.code(); code != 7 || e.err.Len() > 0 {
		t.Errorf("it ends with %d: %s", code, e.err)
	}
	if works(t, access, session) {
		t.Error("the session lives on")
	}
	run(t, 4, "", "token", "session") // none is stored
}

func TestExecUsesTheStoredSession(t *testing.T) {
	demo(t)
	run(t, 0, "", "login")
	stored, _ := run(t, 0, "", "token", "session")
	out, _ := run(t, 0, "", "exec", "--", "sh", "-c", `echo "$LATCHKEY_ACCESS_TOKEN"; echo "$LATCHKEY_SESSION_TOKEN"`)
	access, session, _ := strings.Cut(strings.TrimSpace(out), "\n")
	if session != strings.TrimSpace(stored) || !works(t, access, session) {
		t.Errorf("the session is %s, not %s, or it was ended", session, stored)
	}
	other, _ := run(t, 0, "", "exec", "--force", "sh", "-c", `echo "$LATCHKEY_SESSION_TOKEN"`)
	if other == stored || works(t, access, strings.TrimSpace(other)) || !works(t, access, session) {
		t.Errorf("a forced login: %s, stored: %s", other, stored)
	}
}

func TestExecPassesSignalsAndTheExitCode(t *testing.T) {
	demo(t)
	for name, s := range map[string]syscall.Signal{
		"TERM": syscall.SIGTERM, "INT": syscall.SIGINT, "HUP": syscall.SIGHUP,
		"QUIT": syscall.SIGQUIT, "USR1": syscall.SIGUSR1,
	} {
		t.Run(name, func(t *testing.T) {
			e := startExec(t, "--", "sh", "-c", `trap 'n=$((n+1)); echo got' `+name+
				`; echo "$LATCHKEY_ACCESS_TOKEN"; echo "$LATCHKEY_SESSION_TOKEN"; `+
				`while [ ! "$n" ]; do sleep 0.02; done; read go; exit $((40+n))`)
			access, session := e.line(), e.line()
			if err := e.Process.Signal(s); err != nil {
				t.Fatal(err)
			}
			if line := e.line(); line != "got" || !works(t, access, session) {
				t.Errorf("it got %q", line)
			}
			_, _ = io.WriteString(e.in, "\n")
			if code := e.code(); code != 41 {
				t.Errorf("it ends with %d: %s", code, e.err)
			}
			if works(t, access, session) {
				t.Error("the session lives on")
			}
		})
	}
	for _, c := range []struct {
		code   int
		script string
	}{{0, "exit 0"}, {1, "exit 1"}, {255, "exit 255"}, {137, "kill -9 $$"}, {143, "kill -TERM $$"}} {
		if _, said := run(t, c.code, "", "exec", "--", "sh", "-c", c.script); said != "" {
			t.Errorf("%s: it says %q", c.script, said)
		}
	}
	// The environment of the tests, from make for example, is not exec's.
	status := []string{"grep", "-E", "^Sig(Ign|Blk)", "/proc/self/status"}
	inherited, err := exec.Command(status[0], status[1:]...).Output()
	if err != nil {
		t.Fatal(err)
	}
	e := startExec(t, status...)
	if got := e.line() + "\n" + e.line() + "\n"; got != string(inherited) {
		t.Errorf("the command begins with signals ignored or blocked: %s, not %s", got, inherited)
	}
	e.code()
}

func TestExecDoesNotLogInForACommandThatCannotRun(t *testing.T) {
	demo(t)
	plain := t.TempDir() + "/plain"
	if err := os.WriteFile(plain, []byte("text\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, said := run(t, 127, "", "exec", "--", "no-such-command")
	has(t, said, "no-such-command", "nothing was sent")
	run(t, 127, "", "exec", "--", t.TempDir()+"/none")
	run(t, 126, "", "exec", "--", plain)
	run(t, 2, "", "exec")
	t.Setenv("LATCHKEY_PASSWORD_FILE", "")
	_, said = run(t, 4, "", "exec", "--", "true")
	has(t, said, "no live session is stored", "nothing was sent")
	t.Setenv("LATCHKEY_PASSWORD_FILE", plain)
	for range 2 {
		_, said = run(t, 3, "", "exec", "--", "true")
		has(t, said, "refused the user name or the password")
	}
	_, said = run(t, 1, "", "exec", "--", "true") // the guard of the client
	has(t, said, "nothing was sent")
}
