package cli_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/latchkey/latchkey/internal/cli"
)

// pty opens a terminal with this number of columns.
func pty(t *testing.T, columns int) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = master.Close() })
	descriptor := int(master.Fd())
	if err := unix.IoctlSetPointerInt(descriptor, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(descriptor, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(descriptor, unix.TIOCSWINSZ, &unix.Winsize{Row: 50, Col: uint16(columns)}); err != nil {
		t.Fatal(err)
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = slave.Close() })
	return master, slave
}

// shown runs a command on a terminal with this number of columns and returns its output.
func shown(t *testing.T, columns int, args ...string) string {
	t.Helper()
	master, slave := pty(t, columns)
	command := program(t, args...)
	command.Env = append(command.Env, "NO_COLOR=1")
	command.Stdout = slave
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	_ = slave.Close()
	text, _ := io.ReadAll(master) // it ends with an error when the other side is closed
	if err := command.Wait(); err != nil {
		t.Errorf("latchkey %s: %v", strings.Join(args, " "), err)
	}
	return strings.ReplaceAll(string(text), "\r\n", "\n")
}

// beginProgram starts a service in a separate process and waits for it.
func beginProgram(t *testing.T, wrap []string, set func(*exec.Cmd), args ...string) (*exec.Cmd, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ready.json")
	all := append([]string{"serve", "--demo", "--listen", "127.0.0.1:0", "--ready-file", path}, args...)
	command := program(t, all...)
	if len(wrap) > 0 {
		wrapped := exec.Command(wrap[0], append(append(wrap[1:], "latchkey"), all...)...)
		wrapped.Env = command.Env
		command = wrapped
	}
	set(command)
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = command.Process.Kill() })
	return command, begun(t, path).URL
}

func healthy(t *testing.T, url string) {
	t.Helper()
	response, err := http.Get(url + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
}

func TestAHangupStopsTheServiceInOrderOrIsIgnored(t *testing.T) {
	t.Run("without a terminal", func(t *testing.T) {
		command, url := beginProgram(t, nil, func(c *exec.Cmd) { c.SysProcAttr = &syscall.SysProcAttr{Setsid: true} })
		for range 2 {
			if err := command.Process.Signal(syscall.SIGHUP); err != nil {
				t.Fatal(err)
			}
			healthy(t, url)
		}
		_ = command.Process.Signal(syscall.SIGTERM)
		if err := command.Wait(); err != nil {
			t.Error(err)
		}
	})
	onTerminal := func(slave *os.File) func(*exec.Cmd) {
		return func(c *exec.Cmd) {
			c.Stdin, c.Stdout, c.Stderr = slave, slave, slave
			c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
		}
	}
	t.Run("with a terminal", func(t *testing.T) {
		master, slave := pty(t, 80)
		command, _ := beginProgram(t, nil, onTerminal(slave))
		_ = slave.Close()
		_ = master.Close() // which hangs up
		if err := command.Wait(); err != nil {
			t.Error(err)
		}
	})
	t.Run("nohup", func(t *testing.T) {
		master, slave := pty(t, 80)
		command, url := beginProgram(t, []string{"sh", "-c", `trap "" HUP; exec "$@"`, "sh"}, onTerminal(slave))
		_ = slave.Close()
		_ = master.Close()
		_ = command.Process.Signal(syscall.SIGHUP)
		healthy(t, url)
		_ = command.Process.Signal(syscall.SIGTERM)
		if err := command.Wait(); err != nil {
			t.Error(err)
		}
	})
}

// The second signal stops the service without the wait that the first one began.
func TestTheSecondSignalStopsTheServiceImmediately(t *testing.T) {
	said := newScreen()
	command, url := beginProgram(t, nil, func(c *exec.Cmd) { c.Stderr = said })
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	// A request whose body does not end, and which the server has begun to read.
	fmt.Fprint(conn, "POST /latchkey")
	healthy(t, url)
	_ = command.Process.Signal(os.Interrupt)
	has(t, said.waitFor(t, `(stopping: .*)`), "requests in progress may finish", "atMost=20s", "connections=")
	_ = command.Process.Signal(os.Interrupt)
	if err := command.Wait(); err == nil || err.Error() != "signal: interrupt" {
		t.Errorf("it ended with %v", err)
	}
}

// A table fits the terminal and shows identifiers in full.
func TestTablesFitTheTerminal(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	server, err := start(cli.IO{}, "serve", "--listen", "127.0.0.1:0", "--data", data)
	if err != nil {
		t.Fatal(err)
	}
	defer server.stop()
	long := strings.Repeat("zaphod-", 12)
	for _, name := range []string{"zoe", long, "東京の支店"} {
		run(t, 0, "correct-horse-battery\n", "user", "add", name, "--password-stdin", "--data", data)
	}
	key, _ := run(t, 0, "", "client", "add", strings.Repeat("billing ", 10)+"end", "--data", data)
	credentials := regexp.MustCompile(`=(\S+)`).FindAllStringSubmatch(key, -1)
	t.Setenv("LATCHKEY_API_KEY", credentials[0][1])
	t.Setenv("LATCHKEY_API_SECRET", credentials[1][1])
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	for _, name := range []string{"zoe", long} {
		run(t, 0, "correct-horse-battery\n", "login", "--url", server.url, "--user", name, "--password-stdin")
	}
	run(t, 3, "wrong-horse-battery\n", "login", "--url", server.url, "--user", "zoe", "--force", "--password-stdin")
	sessions, _ := run(t, 0, "", "session", "list", "--data", data)
	ids := regexp.MustCompile(`(?m)^([0-9a-f]{16})  `).FindAllStringSubmatch(sessions, -1)
	if len(ids) != 2 {
		t.Fatalf("there are %d sessions:\n%s", len(ids), sessions)
	}
	for _, columns := range []int{60, 80, 120} {
		for _, args := range [][]string{
			{"user", "list"}, {"client", "list"}, {"session", "list"}, {"audit"}, {"help", "config"},
		} {
			if args[0] != "help" {
				args = append(args, "--data", data)
			}
			text := shown(t, columns, args...)
			if strings.Count(text, "\n") < 2 {
				t.Errorf("latchkey %s shows only %q", strings.Join(args, " "), text)
			}
			for line := range strings.Lines(text) {
				if args[0] == "help" && !strings.HasPrefix(line, "--") {
					continue // prose
				}
				if n := displayedColumns(strings.TrimSuffix(line, "\n")); n > columns {
					t.Errorf("at %d columns latchkey %s has a line of %d: %s", columns, strings.Join(args, " "), n, line)
				}
			}
			switch args[0] {
			case "session":
				has(t, text, "ID", "USER", ids[0][1], ids[1][1], "zoe", "zaphod-")
			case "client":
				has(t, text, credentials[0][1], "billing")
			case "user":
				has(t, text, "zoe", "zaphod-", "東京", "active")
			case "audit":
				has(t, text, "login-failed", "user-added", "zoe")
				if columns == 120 {
					has(t, text, "  request ")
				}
			}
		}
	}
	for _, args := range [][]string{{"session", "list"}, {"audit"}} { // for a program, all of it
		out, _ := run(t, 0, "", append(args, "--data", data)...)
		has(t, out, long, credentials[0][1])
	}
}

// displayedColumns returns the width of a text on a terminal, for the letters of this
// test.
func displayedColumns(line string) (n int) {
	for _, r := range line {
		if n++; r >= 0x3000 && r < 0xa000 {
			n++
		}
	}
	return n
}
