//go:build unix

package docs

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/cli"
	"github.com/latchkey/latchkey/internal/enginetest"
)

// TestMain lets the test binary be the program that the blocks run.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "latchkey" {
		signal.Ignore(syscall.SIGPIPE)
		ctx, stop := cli.UntilSignal()
		code := cli.Run(ctx, cli.IO{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}, os.Args[1:]...)
		stop()
		os.Exit(code)
	}
	os.Exit(m.Run())
}

// prelude begins every script. Each job has a process group of its own, so that it ends
// as a whole.
const prelude = `set -e -o pipefail -m
end() { kill -- -$1 || return 0; while kill -0 -- -$1; do sleep 0.1; done; } 2>/dev/null
stop() { end $service; }
trap 'for job in $(jobs -p); do end $job; done' EXIT
ready() { until curl -s -o /dev/null "$1/readyz"; do kill -0 "${2:-$!}" 2>/dev/null || return 1; sleep 0.1; done; }
launch() {
  local at=$1 log=log.$((++launched)); shift
  LATCHKEY_LISTEN=$at "$@" >$log 2>&1 & service=$!
  ready $at $service && kill -0 $service || { cat $log; exit 1; }
  cat $log
}
`

// step separates the outputs of the blocks.
const step = "==== next block ===="

// TestTheBlocksRun pastes the blocks of each document from top to bottom, those of one
// section into one shell. Only the ports, the path of the program and input from a
// terminal differ from what is printed.
func TestTheBlocksRun(t *testing.T) {
	for _, tool := range []string{"bash", "curl", "openssl"} {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv("LATCHKEY_TEST_ENGINES") == "required" {
				t.Fatal(err)
			}
			t.Skip(err)
		}
	}
	for _, path := range documents(t) {
		t.Run(filepath.Base(path), func(t *testing.T) {
			t.Parallel()
			directory, replaced := t.TempDir(), replacer(t)
			self, err := os.Executable()
			if err == nil {
				err = os.Symlink(self, filepath.Join(directory, "latchkey"))
			}
			if err != nil {
				t.Fatal(err)
			}
			sections, found := blocks(t, path)
			for _, section := range sections {
				t.Run(section, func(t *testing.T) { runSection(t, directory, replaced, section, found[section]) })
			}
		})
	}
}

// runSection runs the blocks of a section that are to be run.
func runSection(t *testing.T, directory string, replaced func(string) string, section string, list []block) {
	t.Helper()
	environment := []string{
		"PATH=" + directory + string(os.PathListSeparator) + os.Getenv("PATH"),
		"HOME=" + directory, "TMPDIR=" + os.TempDir(), "TZ=UTC",
		"GORACE=atexit_sleep_ms=0", // the race detector makes every process wait for a second at its end
	}
	environment = append(environment, goEnvironment(t)...)
	if strings.HasPrefix(section, "scaling.md: ") {
		ports := replaced
		names, variables := database(t)
		replaced = func(text string) string { return ports(names(text)) }
		environment = append(environment, variables...)
	}
	var script strings.Builder
	var wants [][]string
	each(t, section, list, func(u use, text string) {
		number := len(wants)
		switch u.kind {
		case elsewhere:
			if _, err := os.Stat(u.reason); err != nil {
				t.Error(err)
			}
			return
		case document, excerpt, unrun:
			return
		case output:
			if number > 0 {
				wants[number-1] = append(wants[number-1], replaced(text))
			}
			return
		case program:
			text = "./" + compile(t, directory, fmt.Sprintf("program%d", number), replaced(text)) + "\n"
		case snippet:
			compile(t, directory, fmt.Sprintf("snippet%d", number), "package snippet\n\n"+u.before+text)
			return
		case serve:
			address := "127.0.0.1:8080"
			if strings.Contains(text, "--listen 127.0.0.1:8081") {
				address = "127.0.0.1:8081"
			}
			write(t, filepath.Join(directory, fmt.Sprintf("serve%d", number)), replaced(text))
			text = fmt.Sprintf("launch %s bash -e serve%d\n", address, number)
		case shell:
			text = runExample.ReplaceAllStringFunc(text, func(command string) string {
				name := runExample.FindStringSubmatch(command)[1]
				source, err := os.ReadFile(filepath.Join("examples", name, "main.go"))
				if err != nil {
					t.Fatal(err)
				}
				return "./" + compile(t, directory, "example-"+name, replaced(string(source)))
			})
		}
		fmt.Fprintf(&script, "%s\necho; echo '%s'\n%s", replaced(u.before), step, replaced(text))
		wants = append(wants, u.wants)
	})
	if len(wants) == 0 {
		return
	}
	addresses := replaced("address=(- 127.0.0.1:8081 127.0.0.1:8082 127.0.0.1:8083)\n")
	output := bash(t, directory, environment, prelude+addresses+script.String())
	steps := strings.Split(output, step)[1:]
	for i, texts := range wants {
		for _, want := range texts {
			if i >= len(steps) || !printed(steps[i], want) {
				t.Errorf("block %d does not print %q", i+1, want)
			}
		}
	}
	if t.Failed() {
		t.Log(output)
	}
}

// runExample is a command that runs an example.
var runExample = regexp.MustCompile(`go run \./docs/examples/(\w+)`)

// printed reports whether the lines of want are in the output of a block, in this order.
func printed(output, want string) bool {
	pattern := regexp.QuoteMeta(strings.TrimSuffix(want, "\n"))
	pattern = strings.ReplaceAll(pattern, "…", ".*")
	return regexp.MustCompile(strings.ReplaceAll(pattern, "\n", `(?s:.*)`)).MatchString(output)
}

// replacer returns a function that replaces the printed addresses with free ones, and
// the program that is built with the one that is tested.
func replacer(t *testing.T) func(text string) string {
	t.Helper()
	pairs := []string{
		"go build -o latchkey ./cmd/latchkey", "test -x latchkey",
		"go run ./cmd/latchkey", "./latchkey",
		"/var/lib/latchkey", "var-lib-latchkey",
		"127.0.0.1:808$n", "${address[$n]}",
	}
	for _, port := range []string{"8080", "8081", "8082", "8083"} {
		pairs = append(pairs, "127.0.0.1:"+port, freeAddress(t))
	}
	return strings.NewReplacer(pairs...).Replace
}

var (
	addressLock sync.Mutex
	addresses   = map[string]bool{} // those that a test has
)

// freeAddress returns an address for one document. Its port is below those that the
// system gives to outgoing connections, and those of internal/enginetest.
func freeAddress(t *testing.T) string {
	t.Helper()
	addressLock.Lock()
	defer addressLock.Unlock()
	for range 1000 {
		address := fmt.Sprintf("127.0.0.1:%d", 3000+rand.IntN(9000))
		listener, err := net.Listen("tcp", address)
		if err == nil {
			err = listener.Close()
		}
		if err == nil && !addresses[address] {
			addresses[address] = true
			return address
		}
	}
	t.Fatal("no port is free")
	return ""
}

// database makes a database. It returns a function that replaces the printed databases
// with it, and the environment of PostgreSQL's tools.
func database(t *testing.T) (replaced func(text string) string, environment []string) {
	t.Helper()
	at := enginetest.Postgres(t)
	parsed, err := url.Parse(at)
	if err != nil {
		t.Fatal(err)
	}
	restored := *parsed
	restored.Path += "-restored"
	replaced = strings.NewReplacer(
		"postgres://latchkey:PASSWORD@127.0.0.1:5432/latchkey", at,
		"postgres://latchkey:PASSWORD@db.example:5432/latchkey", at,
		"createdb latchkey-restored ", "createdb "+restored.Path[1:]+" ",
		"postgres://latchkey@db.example/latchkey-restored", restored.String(),
	).Replace
	return replaced, []string{
		"LATCHKEY_DATABASE=" + at,
		"PGHOST=" + parsed.Hostname(), "PGPORT=" + parsed.Port(), "PGUSER=" + parsed.User.Username(),
	}
}

// goEnvironment returns what the go command needs to build without a network, and TREE, the
// root of this module.
func goEnvironment(t *testing.T) []string {
	t.Helper()
	tree, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	output, err := exec.CommandContext(t.Context(), "go", "env", "GOCACHE", "GOMODCACHE").Output()
	places := strings.Split(strings.TrimSpace(string(output)), "\n")
	if err != nil || len(places) != 2 {
		t.Fatalf("go env: %v\n%s", err, output)
	}
	return []string{"TREE=" + tree, "GOCACHE=" + places[0], "GOMODCACHE=" + places[1], "GOPROXY=off", "GOTOOLCHAIN=local"}
}

// bash runs a script in a directory, and returns what it printed.
func bash(t *testing.T, directory string, environment []string, script string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, "bash", "-c", script)
	command.Dir, command.Env = directory, environment
	command.Cancel = func() error { return command.Process.Signal(syscall.SIGTERM) }
	command.WaitDelay = 10 * time.Second
	output, err := command.CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		t.Errorf("the blocks end with exit code %d", exit.ExitCode())
	} else if err != nil {
		t.Error(err)
	}
	return string(output)
}

// compile compiles Go code as part of this module, and returns the program's name.
func compile(t *testing.T, directory, name, text string) string {
	t.Helper()
	source := filepath.Join(directory, name+".go")
	write(t, source, text)
	command := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(directory, name), source)
	command.Dir = ".."
	if output, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	return name
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
