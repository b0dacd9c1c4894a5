package sqlite_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/store/sqlite"
	"github.com/latchkey/latchkey/internal/store/storetest"
)

// finished is what a victim prints at its end.
const finished = "the victim has finished"

// runVictim runs a test of this binary in a process of its own, in which a variable is
// set, and fails unless that process has done what it was for.
func runVictim(t *testing.T, test, variable, value string, attributes *syscall.SysProcAttr) {
	t.Helper()
	command := exec.Command(os.Args[0], "-test.run", "^"+test+"$", "-test.v")
	command.Env = append(os.Environ(), variable+"="+value)
	command.SysProcAttr = attributes
	output, err := command.CombinedOutput()
	if err != nil || !strings.Contains(string(output), finished) {
		t.Errorf("the process ended with %v:\n%s", err, output)
	}
}

// failingPath makes the test binary a process whose writes beyond a size fail, as they
// do on a failing disk: that limit is one of a whole process.
const failingPath = "LATCHKEY_TEST_FAILING_PATH"

func TestAFailingDiskTakesBackTheWholeBatch(t *testing.T) {
	t.Parallel()
	runVictim(t, "TestFailingDiskVictim", failingPath, filepath.Join(t.TempDir(), "latchkey.db"), nil)
}

// TestFailingDiskVictim is that process; without the variable it has nothing to prove.
func TestFailingDiskVictim(t *testing.T) {
	path := os.Getenv(failingPath)
	if path == "" {
		return
	}
	db, closeDB := open(t, path)
	signal.Ignore(syscall.SIGXFSZ)
	var large []authority.Event // more than SQLite keeps in memory before it writes
	for range 4000 {
		large = append(large, authority.Event{At: start, Kind: authority.EventForwarded, Detail: strings.Repeat("d", 1000)})
	}
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &before); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 1 << 20, Max: before.Max}); err != nil {
		t.Fatal(err)
	}
	const n, big = 100, 20
	outcomes := batch(t, db, n+1, func(i int) error {
		if i == big {
			return db.AppendAudit(context.Background(), large...)
		}
		return db.CreateSession(context.Background(), storetest.NewSession(i, "u", start))
	})
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &before); err != nil {
		t.Fatal(err)
	}
	if outcomes[big] == nil {
		t.Fatal("the large change has succeeded: the test proves nothing")
	}
	if events, err := db.AuditEvents(context.Background(), authority.AuditQuery{}); err != nil || len(events) > 0 {
		t.Errorf("the trail has %d events, %v", len(events), err)
	}
	// No session has the number of the large change.
	checkOutcomes(t, path, db, closeDB, outcomes, 0, "the disk cannot be read or written")
	fmt.Println(finished)
}

// confinedPath makes the test binary a process that can write in one directory only.
const confinedPath = "LATCHKEY_TEST_CONFINED_PATH"

// TestOnlyTheDataDirectoryIsWritable runs the embedded database in a root directory in
// which nothing but a data directory can be written, as in a container that is built
// from scratch and read-only.
func TestOnlyTheDataDirectoryIsWritable(t *testing.T) {
	t.Parallel()
	const nobody, capSysChroot = 65534, 18
	root := t.TempDir()
	data := filepath.Join(root, "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	mode := os.FileMode(0o755)
	attributes := &syscall.SysProcAttr{}
	if os.Geteuid() == 0 { // the victim becomes another user
		if err := os.Chown(data, nobody, nobody); err != nil {
			t.Fatal(err)
		}
	} else { // in a namespace in which this user may change the root
		mode = 0o555
		id := []syscall.SysProcIDMap{{ContainerID: os.Getuid(), HostID: os.Getuid(), Size: 1}}
		group := []syscall.SysProcIDMap{{ContainerID: os.Getgid(), HostID: os.Getgid(), Size: 1}}
		attributes = &syscall.SysProcAttr{
			Cloneflags: syscall.CLONE_NEWUSER, UidMappings: id, GidMappings: group, AmbientCaps: []uintptr{capSysChroot},
		}
	}
	if err := os.Chmod(root, mode); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Chmod(root, 0o700) })
	runVictim(t, "TestConfinedVictim", confinedPath, root, attributes)
}

// TestConfinedVictim is that process; without the variable it has nothing to prove.
func TestConfinedVictim(t *testing.T) {
	root := os.Getenv(confinedPath)
	if root == "" {
		return
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(syscall.Chroot(root))
	must(os.Chdir("/"))
	if os.Geteuid() == 0 {
		must(syscall.Setgroups(nil))
		must(syscall.Setgid(65534))
		must(syscall.Setuid(65534))
	}
	for _, directory := range []string{"/", "/tmp", "/var/tmp", "."} {
		if file, err := os.CreateTemp(directory, "probe"); err == nil {
			t.Fatalf("%s is writable: the test proves nothing", file.Name())
		}
	}
	ctx, now := context.Background(), start
	db, closeDB := open(t, "/data/latchkey.db")
	rules, err := authority.New(authority.Config{
		Stores: db.Stores(), Key: make([]byte, 32), Hash: authority.HashParams{MemoryKiB: 8, Passes: 1, Lanes: 1},
		Policy: authority.Policy{KeepAudit: time.Hour}, Now: func() time.Time { return now },
	})
	must(err)
	_, err = rules.AddUser(ctx, "u", "a password", authority.Origin{})
	must(err)
	const sessions = 1500
	var making sync.WaitGroup
	for worker := range 100 {
		making.Go(func() {
			for i := worker; i < 2*sessions; i += 100 {
				if err := db.CreateSession(ctx, storetest.NewSession(i, []string{"u", "v"}[i/sessions], now)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	making.Wait()
	n, err := rules.EndUserSessions(ctx, "u", authority.Origin{})
	must(err)
	if n != sessions {
		t.Errorf("%d of %d sessions were ended", n, sessions)
	}
	now = now.Add(10 * time.Minute)
	for i := sessions; i < 2*sessions; i++ {
		_, err := db.UseSession(ctx, storetest.Key(i), now, storetest.Idle)
		must(err)
	}
	must(sqlite.WriteLastUses(ctx, db))
	var events []authority.Event
	for i := range 3000 {
		detail := fmt.Sprint(sha256.Sum256([]byte{byte(i)}))
		events = append(events, authority.Event{At: now, Kind: authority.EventForwarded, Detail: detail})
	}
	must(db.AppendAudit(ctx, events...))
	now = now.Add(3 * time.Hour)
	must(rules.Sweep(ctx))
	proof, err := rules.VerifyAudit(ctx, authority.AuditMark{})
	must(err)
	live, err := rules.Sessions(ctx, authority.SessionQuery{})
	if err != nil || len(live) > 0 || proof.Broken != 0 || proof.Events < sessions {
		t.Errorf("after a sweep %d sessions live, %v; the trail is %+v", len(live), err, proof)
	}
	now = now.Add(31 * 24 * time.Hour)
	must(rules.Sweep(ctx))
	ended, err := rules.Sessions(ctx, authority.SessionQuery{Ended: true})
	must(err)
	events, err = rules.AuditEvents(ctx, authority.AuditQuery{})
	must(err)
	if len(ended) > 0 || len(events) != 1 || db.WriteFailure() != nil {
		t.Errorf("in the end %d sessions are kept and %d events, and the state of writes is %v",
			len(ended), len(events), db.WriteFailure())
	}
	closeDB()
	_, closeDB = open(t, "/data/latchkey.db")
	closeDB()
	fmt.Println(finished)
}
