package enginetest_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/enginetest"
)

// helper is the environment variable that selects what TestHelper does.
const helper = "LATCHKEY_ENGINETEST_HELPER"

// TestHelper is run by the other tests in a separate process.
func TestHelper(t *testing.T) {
	switch os.Getenv(helper) {
	case "start":
		shared, err := url.Parse(enginetest.Postgres(t))
		must(t, err)
		own, redis := enginetest.StartPostgres(t), enginetest.StartRedis(t)
		fmt.Println("listening:", shared.Host, own.Addr(), redis.Addr())
		select {} // until the process is killed
	case "redis":
		enginetest.Redis(t)
	}
}

// helperCommand returns the command that runs TestHelper.
func helperCommand(t *testing.T, what string, environment ...string) *exec.Cmd {
	t.Helper()
	command := exec.Command(os.Args[0], "-test.run=^TestHelper$", "-test.v")
	command.Env = append(append(os.Environ(), environment...), helper+"="+what)
	return command
}

func TestServersDoNotOutliveTheTests(t *testing.T) {
	t.Parallel()
	enginetest.Redis(t) // skips the test if it is not installed
	enginetest.Postgres(t)
	command := helperCommand(t, "start")
	output, err := command.StdoutPipe()
	must(t, err)
	must(t, command.Start())
	var addresses []string
	for lines := bufio.NewScanner(output); addresses == nil && lines.Scan(); {
		if text, ok := strings.CutPrefix(lines.Text(), "listening: "); ok {
			addresses = strings.Fields(text)
		}
	}
	equal(t, "number of servers", len(addresses), 3)
	for _, address := range addresses {
		conn, err := net.Dial("tcp", address)
		must(t, err)
		must(t, conn.Close())
	}
	must(t, command.Process.Kill())
	_ = command.Wait()
	for _, address := range addresses {
		eventually(t, address+" is closed", func(context.Context) error {
			conn, err := net.Dial("tcp", address)
			if err != nil {
				return nil //nolint:nilerr // the server is gone
			}
			return errors.Join(errors.New("the server still listens"), conn.Close())
		})
	}

	// The next process that starts a server removes their directories.
	left := filepath.Join(os.TempDir(), fmt.Sprintf("latchkey-enginetest-%d-*", command.Process.Pid))
	count := func() int {
		paths, err := filepath.Glob(left)
		must(t, err)
		return len(paths)
	}
	equal(t, "number of directories", count(), 3)
	eventually(t, "the directories are removed", func(context.Context) error {
		if output, err := helperCommand(t, "redis").CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, output)
		}
		if n := count(); n != 0 {
			return fmt.Errorf("%d are left", n)
		}
		return nil
	})
}

func TestAMissingServerSkipsTheTestOrFailsIt(t *testing.T) {
	t.Parallel()
	for required, want := range map[string]string{
		"":         "redis-server is not installed: sh scripts/packages.sh",
		"required": "redis-server is not installed, and LATCHKEY_TEST_ENGINES requires it: sh scripts/packages.sh",
	} {
		output, err := helperCommand(t, "redis", "PATH="+t.TempDir(), "LATCHKEY_TEST_ENGINES="+required).CombinedOutput()
		equal(t, "failure", err != nil, required != "")
		if !strings.Contains(string(output), want) {
			t.Errorf("%q is not in %s", want, output)
		}
	}
}
