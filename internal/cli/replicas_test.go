package cli_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/cli"
	"github.com/latchkey/latchkey/internal/enginetest"
)

// TestReplicaScripts runs the scripts under testdata/replicas, in which services share
// a PostgreSQL.
func TestReplicaScripts(t *testing.T) {
	database := enginetest.Postgres(t)
	key := filepath.Join(t.TempDir(), "server.key")
	if err := os.WriteFile(key, []byte("0123456789abcdef0123456789abcdef"), 0o600); err != nil {
		t.Fatal(err)
	}
	upstream, err := start(cli.IO{}, "serve", "--listen", "127.0.0.1:0", "--demo", "--simulate")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { upstream.stop() })
	// For the services, which run in this process, and for the commands of the scripts.
	shared := map[string]string{"LATCHKEY_DATABASE": database, "LATCHKEY_KEY_FILE": key}
	other := enginetest.Postgres(t)
	for name, value := range shared {
		t.Setenv(name, value)
	}
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	t.Setenv("LATCHKEY_UPSTREAM_API_SECRET", "demo-secret")
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "replicas"),
		Setup: func(env *testscript.Env) error {
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("XDG_CONFIG_HOME", filepath.Join(env.WorkDir, "config"))
			env.Setenv("XDG_STATE_HOME", filepath.Join(env.WorkDir, "state"))
			env.Setenv("TZ", "UTC")
			env.Setenv("UP", upstream.url)
			env.Setenv("OTHER", other)
			env.Setenv("AGAIN", strings.Replace(database, "127.0.0.1", "localhost", 1)+"&application_name=operator")
			env.Setenv("COPY", database+"&search_path=copy")
			env.Setenv("GORACE", "atexit_sleep_ms=0")
			for name, value := range shared {
				env.Setenv(name, value)
			}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":   scriptExits,
			"soon":    scriptSoon,
			"setfrom": scriptSetFrom,
			"replica": scriptReplica,
		},
	})
}

// scriptSoon repeats a command until it exits with the code: soon CODE COMMAND…. A run
// that begins authority.MaxStaleness after the change before it must exit with the code,
// because by then no replica may rely on a cached session.
func scriptSoon(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: soon CODE COMMAND…")
	}
	changed := time.Now()
	for {
		late := time.Since(changed) > authority.MaxStaleness
		err := ts.Exec(args[1], args[2:]...)
		var exit *exec.ExitError
		switch {
		case errors.As(err, &exit) && strconv.Itoa(exit.ExitCode()) == args[0]:
			return
		case late:
			ts.Fatalf("%v after the change: %v, want exit code %s", time.Since(changed), err, args[0])
		}
	}
}

// scriptReplica starts a service in this process and sets a variable to its URL:
// replica VARIABLE ARGUMENT…. File names are those of the script.
func scriptReplica(ts *testscript.TestScript, _ bool, args []string) {
	for i := 2; i < len(args); i++ {
		if args[i-1] == "--data" || args[i-1] == "--upstream-credential-file" {
			args[i] = ts.MkAbs(args[i])
		}
	}
	s, err := start(cli.IO{}, append([]string{"serve", "--listen", "127.0.0.1:0"}, args[1:]...)...)
	ts.Check(err)
	ts.Setenv(args[0], s.url)
	ts.Defer(func() {
		if code := s.stop(); code != 0 {
			ts.Logf("a replica ended with %d: %s", code, s.log)
		}
	})
}
