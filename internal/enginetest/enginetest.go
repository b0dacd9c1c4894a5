// Package enginetest starts real database servers for tests: PostgreSQL, Redis (a single
// server, a cluster, or with sentinels), PgBouncer, and a proxy for any of them that delays and
// cuts connections.
//
// The programs are those of the system's packages. Each server has its own port of 127.0.0.1
// and its own directory, and does not outlive the test binary, however that ends. A test whose
// server is not installed is skipped, or fails if LATCHKEY_TEST_ENGINES is "required".
//
// A package that checks for leaked goroutines passes Leaks to goleak:
//
//	func TestMain(m *testing.M) { goleak.VerifyTestMain(m, enginetest.Leaks()...) }
package enginetest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"
)

// Leaks returns the options that make goleak ignore the goroutines that stay until the process
// ends: the one that starts servers, the one that waits for the shared server, those that the
// proxy leaves behind when a connection breaks during a transfer, and those in which rueidis
// waits a few seconds before it closes its connections to a node that has left a cluster.
func Leaks() []goleak.Option {
	const (
		here      = "github.com/latchkey/latchkey/internal/enginetest."
		toxiproxy = "github.com/Shopify/toxiproxy/v2"
		rueidis   = "github.com/redis/rueidis"
	)
	return []goleak.Option{
		goleak.IgnoreAnyFunction(here + "startForever"),
		goleak.IgnoreAnyFunction(here + "(*process).wait"),
		goleak.IgnoreAnyFunction(toxiproxy + "/toxics.(*ToxicStub).Run"),
		goleak.IgnoreAnyFunction(toxiproxy + ".(*ToxicLink).read"),
		goleak.IgnoreAnyFunction(toxiproxy + ".(*ToxicLink).write"),
		goleak.IgnoreAnyFunction(rueidis + ".(*clusterClient)._refresh.func2"),
	}
}

// ErrMissing means that a server is not installed.
var ErrMissing = errors.New("not installed")

// check ends the test if there is an error. The test is skipped if the server is not installed
// and not required.
func check(t testing.TB, name string, err error) {
	t.Helper()
	switch {
	case err == nil:
	case !errors.Is(err, ErrMissing):
		t.Fatalf("%s: %v", name, err)
	case os.Getenv("LATCHKEY_TEST_ENGINES") == "required":
		t.Fatalf("%s is %v, and LATCHKEY_TEST_ENGINES requires it: sh scripts/packages.sh", name, err)
	default:
		t.Skipf("%s is %v: sh scripts/packages.sh", name, err)
	}
}

// find returns the path of an executable, on the PATH or in the directories elsewhere.
func find(name string, elsewhere ...string) (string, error) {
	if !supported {
		return "", fmt.Errorf("%w (Linux only)", ErrMissing)
	}
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	for _, pattern := range elsewhere {
		paths, _ := filepath.Glob(filepath.Join(pattern, name))
		if len(paths) > 0 {
			return paths[len(paths)-1], nil // the newest version
		}
	}
	return "", ErrMissing
}
