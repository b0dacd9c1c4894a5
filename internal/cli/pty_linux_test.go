package cli_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// pty opens a terminal of so many columns.
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

// shown runs a command whose output is a terminal of so many columns, and returns what
// the terminal got.
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
	text, _ := io.ReadAll(master) // it ends with an error when nobody has the other side
	if err := command.Wait(); err != nil {
		t.Errorf("latchkey %s: %v", strings.Join(args, " "), err)
	}
	return strings.ReplaceAll(string(text), "\r\n", "\n")
}

// beginProgram starts a service in a process of its own and waits for it.
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

func TestAHangupStopsInOrderOrIsIgnored(t *testing.T) {
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

// The second signal ends at once what the first would have waited for.
func TestTheSecondSignalStopsAtOnce(t *testing.T) {
	said := newScreen()
	command, url := beginProgram(t, nil, func(c *exec.Cmd) { c.Stderr = said })
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	// A request that does not come to its end, and which the server has begun to read.
	fmt.Fprint(conn, "POST /latchkey")
	healthy(t, url)
	_ = command.Process.Signal(os.Interrupt)
	has(t, said.waitFor(t, `(stopping: .*)`), "requests under way are waited for", "atMost=20s", "connections=")
	_ = command.Process.Signal(os.Interrupt)
	if err := command.Wait(); err == nil || err.Error() != "signal: interrupt" {
		t.Errorf("it ended with %v", err)
	}
}
