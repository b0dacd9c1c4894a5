package cli_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/latchkey/latchkey/internal/cli"
	"github.com/latchkey/latchkey/internal/hashworker"
)

// startTimeout is how long a server may take to print its address. It only bounds a test
// that fails.
const startTimeout = 30 * time.Second

// cheapHashes makes the password hashes of all services cheap.
var cheapHashes = map[string]string{"LATCHKEY_HASH_MEMORY": "1", "LATCHKEY_HASH_PASSES": "1"}

// inEmptyHome runs the tests in an environment without settings and with an empty home,
// so that tests which set no variable can run in parallel.
type inEmptyHome struct{ m *testing.M }

func (e inEmptyHome) Run() int {
	home, err := os.MkdirTemp("", "latchkey-test-")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(home) }()
	for _, pair := range os.Environ() {
		name, _, _ := strings.Cut(pair, "=")
		if strings.HasPrefix(name, "LATCHKEY_") && name != "LATCHKEY_SOAK" && name != "LATCHKEY_TEST_ENGINES" {
			_ = os.Unsetenv(name)
		}
	}
	_ = os.Setenv("XDG_CONFIG_HOME", filepath.Join(home, "config"))
	_ = os.Setenv("XDG_STATE_HOME", filepath.Join(home, "state"))
	for name, value := range cheapHashes {
		_ = os.Setenv(name, value)
	}
	return e.m.Run()
}

func TestMain(m *testing.M) {
	testscript.Main(inEmptyHome{m}, map[string]func(){
		"latchkey": func() {
			hashworker.Main()
			signal.Ignore(syscall.SIGPIPE)
			ctx, stop := cli.UntilSignal()
			code := cli.Run(ctx, cli.IO{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}, os.Args[1:]...)
			stop()
			os.Exit(code)
		},
		"into": into,
	})
}

// into is a program that runs another with a standard output that takes nothing:
// into full|broken|nowhere COMMAND…
func into() {
	var out *os.File
	var err error
	switch os.Args[1] {
	case "full":
		out, err = os.OpenFile("/dev/full", os.O_WRONLY, 0)
	case "broken":
		var reader *os.File
		reader, out, err = os.Pipe()
		_ = reader.Close()
	case "nowhere":
		out, err = os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	}
	if err != nil {
		panic(err)
	}
	command := exec.Command(os.Args[2], os.Args[3:]...)
	command.Stdin, command.Stdout, command.Stderr = os.Stdin, out, os.Stderr
	_ = command.Run()
	os.Exit(command.ProcessState.ExitCode())
}

// TestScripts runs the scripts under testdata/script: each line `latchkey …` is a
// separate process.
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "script"),
		Setup: func(env *testscript.Env) error {
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("XDG_CONFIG_HOME", filepath.Join(env.WorkDir, "config"))
			env.Setenv("XDG_STATE_HOME", filepath.Join(env.WorkDir, "state"))
			env.Setenv("TZ", "UTC")
			for name, value := range cheapHashes {
				env.Setenv(name, value)
			}
			// Otherwise the race detector makes every process wait a second at its end.
			env.Setenv("GORACE", "atexit_sleep_ms=0")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":  scriptExits,
			"until":  scriptUntil,
			"taken":  scriptTaken,
			"plain":  func(ts *testscript.TestScript, _ bool, args []string) { scheme(ts, args[0], "https", "http") },
			"secure": func(ts *testscript.TestScript, _ bool, args []string) { scheme(ts, args[0], "http", "https") },

			"fromready": scriptFromReady,
			"serve":     scriptServe,
			"stop":      scriptStop,
			"mode":      scriptMode,
			"unused":    scriptUnused,

			"front":   scriptFront,
			"setfrom": scriptSetFrom,
		},
	})
}

// scriptExits runs a command and wants the exit code: exits CODE COMMAND…
func scriptExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND…")
	}
	err := ts.Exec(args[1], args[2:]...)
	code := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		code = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if strconv.Itoa(code) != args[0] {
		ts.Fatalf("%s exits with %d, not %s", strings.Join(args[1:], " "), code, args[0])
	}
}

// scriptUntil repeats a command until its output matches:
// until PATTERN COMMAND…
func scriptUntil(ts *testscript.TestScript, _ bool, args []string) {
	pattern := regexp.MustCompile("(?m)" + args[0])
	for deadline := time.Now().Add(startTimeout); ; {
		err := ts.Exec(args[1], args[2:]...)
		if pattern.MatchString(ts.ReadFile("stdout")) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%q does not come: %v", args[0], err)
		}
	}
}

// scriptTaken sets a variable to the port of a URL: taken VARIABLE URL
func scriptTaken(ts *testscript.TestScript, _ bool, args []string) {
	parsed, err := url.Parse(args[1])
	ts.Check(err)
	ts.Setenv(args[0], parsed.Port())
}

// scheme gives the URL in a variable another scheme.
func scheme(ts *testscript.TestScript, variable, from, to string) {
	rest, ok := strings.CutPrefix(ts.Getenv(variable), from+"://")
	if !ok {
		ts.Fatalf("%s is not %s://", variable, from)
	}
	ts.Setenv(variable, to+"://"+rest)
}

// scriptFromReady sets NAME_URL and NAME_DATA from ready.json: fromready NAME
func scriptFromReady(ts *testscript.TestScript, _ bool, args []string) {
	var ready struct{ URL, Data string }
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("ready.json")), &ready))
	ts.Setenv(args[0]+"_URL", ready.URL)
	ts.Setenv(args[0]+"_DATA", ready.Data)
}

// scriptServe starts a service in this process and sets URL, and DATA to its data
// directory: serve ARGUMENT…
func scriptServe(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("usage: serve ARGUMENT…")
	}
	// The process's own directory is not the script's.
	for i := range args {
		if i > 0 && (args[i-1] == "--data" || args[i-1] == "--tls-cert" || args[i-1] == "--tls-key") {
			args[i] = ts.MkAbs(args[i])
		}
		if path, ok := strings.CutPrefix(args[i], "sqlite:"); ok {
			args[i] = "sqlite:" + ts.MkAbs(path)
		}
	}
	s, err := start(cli.IO{}, append([]string{"serve", "--listen", "127.0.0.1:0"}, args...)...)
	ts.Check(err)
	ts.Setenv("URL", s.url)
	if found := keepsData.FindStringSubmatch(s.log.String()); found != nil {
		ts.Setenv("DATA", found[1])
	}
	servers.Store(ts, s)
	ts.Defer(func() {
		if s, ok := servers.LoadAndDelete(ts); ok {
			stopped, _ := s.(*served)
			stopped.stop()
		}
	})
}

// scriptFront starts a gateway beside the service of the script, and sets FRONT:
// front UPSTREAM CREDENTIAL-FILE
func scriptFront(ts *testscript.TestScript, _ bool, args []string) {
	// It runs in this process, whose environment is not the script's.
	secret := ts.MkAbs("upstream-secret")
	ts.Check(os.WriteFile(secret, []byte(ts.Getenv("LATCHKEY_UPSTREAM_API_SECRET")), 0o600))
	s, err := start(cli.IO{}, "serve", "--listen", "127.0.0.1:0", "--data", ts.MkAbs("gateway"), "--upstream", args[0],
		"--upstream-api-key", "demo-key", "--upstream-api-secret-file", secret,
		"--upstream-credential-file", ts.MkAbs(args[1]),
		"--rotate-every", "90d", "--upstream-host", "mirror="+strings.Replace(args[0], "127.0.0.1", "localhost", 1))
	ts.Check(err)
	ts.Setenv("FRONT", s.url)
	ts.Defer(func() { s.stop() })
}

// scriptSetFrom sets the variables of a file with lines NAME=value: setfrom FILE
func scriptSetFrom(ts *testscript.TestScript, _ bool, args []string) {
	for line := range strings.Lines(ts.ReadFile(args[0])) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			ts.Setenv(name, value)
		}
	}
}

// servers holds the service of each script that runs.
var servers sync.Map // *testscript.TestScript → *served

// scriptStop stops the service of the script.
func scriptStop(ts *testscript.TestScript, _ bool, _ []string) {
	s, ok := servers.LoadAndDelete(ts)
	if !ok {
		ts.Fatalf("no service is running")
	}
	stopped, _ := s.(*served)
	if code := stopped.stop(); code != 0 {
		ts.Fatalf("the service exits with %d:\n%s", code, stopped.log.String())
	}
}

// scriptMode wants the permissions of a file: mode 0600 FILE
func scriptMode(ts *testscript.TestScript, _ bool, args []string) {
	info, err := os.Stat(ts.MkAbs(args[1]))
	ts.Check(err)
	if got := "0" + strconv.FormatUint(uint64(info.Mode().Perm()), 8); got != args[0] {
		ts.Fatalf("%s has mode %s, not %s", args[1], got, args[0])
	}
}

// scriptUnused sets a variable to an address on which nothing listens.
func scriptUnused(ts *testscript.TestScript, _ bool, args []string) {
	ts.Setenv(args[0], unusedAddress())
}

func unusedAddress() string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// served is a service that runs in this process.
type served struct {
	url    string
	log    *screen
	cancel context.CancelFunc
	done   chan struct{}
	code   int
}

var listens = regexp.MustCompile(`serves the session API on (\S+)|"msg":"listening","url":"([^"]+)"`)

var keepsData = regexp.MustCompile(`(?m)^  data         ([^,\n]+)`)

// start runs `latchkey serve …` and waits until it prints its address.
func start(streams cli.IO, args ...string) (*served, error) {
	ctx, cancel := context.WithCancel(context.Background())
	s := &served{log: newScreen(), cancel: cancel, done: make(chan struct{})}
	streams.In, streams.Out, streams.Err = strings.NewReader(""), io.Discard, s.log
	go func() {
		defer close(s.done)
		s.code = cli.Run(ctx, streams, args...)
	}()
	deadline := time.After(startTimeout)
	for {
		if found := listens.FindStringSubmatch(s.log.String()); found != nil {
			s.url = found[1] + found[2]
			return s, nil
		}
		select {
		case <-s.log.written:
		case <-s.done:
			return nil, errors.New("the service ended: " + s.log.String())
		case <-deadline:
			s.stop()
			return nil, errors.New("the service does not listen: " + s.log.String())
		}
	}
}

// stop stops the service and returns its exit code.
func (s *served) stop() int {
	s.cancel()
	<-s.done
	return s.code
}
