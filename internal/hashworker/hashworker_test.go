package hashworker_test

import (
	"bytes"
	"encoding/hex"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/hashworker"
	"github.com/latchkey/latchkey/internal/testsupport"
)

func TestMain(m *testing.M) {
	hashworker.Main()
	os.Exit(m.Run())
}

// cheap is quick, and dear takes long enough for the process to be killed before its end.
var (
	cheap = authority.HashParams{MemoryKiB: 64, Passes: 1, Lanes: 1}
	dear  = authority.HashParams{MemoryKiB: 32 << 10, Passes: 8, Lanes: 1}
)

var salt = []byte("0123456789abcdef")

// defects returns how often the log says that the process cannot start, ended, or failed.
func defects(said *testsupport.Log) int {
	return count(said, "cannot be started") + count(said, "passwords ended") + count(said, "passwords reports")
}

func count(said *testsupport.Log, text string) int { return strings.Count(said.String(), text) }

func newWorker(t *testing.T) (*hashworker.Worker, *testsupport.Log) {
	t.Helper()
	said := &testsupport.Log{}
	w := hashworker.New(slog.New(slog.NewTextHandler(said, nil)))
	t.Cleanup(func() { _ = w.Close() })
	return w, said
}

func check(t *testing.T, w *hashworker.Worker, p authority.HashParams, password string) {
	t.Helper()
	got, want := w.Sum(p, []byte(password), salt, 32), p.Sum([]byte(password), salt, 32)
	if !bytes.Equal(got, want) {
		t.Errorf("the sum of %q is %s, want %s", password, hex.EncodeToString(got), hex.EncodeToString(want))
	}
}

func TestSumsOfTheProcess(t *testing.T) {
	w, said := newWorker(t)
	if w.Pid() != 0 {
		t.Error("a process runs before the first hash")
	}
	var group sync.WaitGroup
	for _, password := range []string{"", "a", "\x00\xff", strings.Repeat("x", 1000), "correct-horse"} {
		group.Go(func() { check(t, w, cheap, password) })
	}
	group.Wait()
	testsupport.Eventually(t, "a process", func() bool { return w.Pid() != 0 })
	pid := w.Pid()
	check(t, w, cheap, strings.Repeat("too long", 4000)) // hashed here
	if w.Pid() != pid || defects(said) != 0 {
		t.Errorf("the process is another, or the log has a defect: %s", said)
	}
}

func TestKilledWhileItHashes(t *testing.T) {
	w, said := newWorker(t)
	check(t, w, cheap, "starts it")
	testsupport.Eventually(t, "a process", func() bool { return w.Pid() != 0 })
	first := w.Pid()
	done := make(chan []byte)
	go func() { done <- w.Sum(dear, []byte("password"), salt, 32) }()
	p, err := os.FindProcess(first)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	if got := <-done; !bytes.Equal(got, dear.Sum([]byte("password"), salt, 32)) {
		t.Error("the sum is wrong after the process was killed")
	}
	testsupport.Eventually(t, "the log line",
		func() bool { return count(said, "process that hashes passwords ended") == 1 })
	w.Retry()
	check(t, w, cheap, "starts another")
	testsupport.Eventually(t, "another process", func() bool { return w.Pid() != 0 && w.Pid() != first })
}

func TestClosed(t *testing.T) {
	w, said := newWorker(t)
	check(t, w, cheap, "a")
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	check(t, w, cheap, "b")
	if w.Pid() != 0 || defects(said) != 0 {
		t.Errorf("process %d runs after Close, or the log has a defect", w.Pid())
	}
}

func TestStartedByHand(t *testing.T) {
	command := exec.Command(os.Args[0], hashworker.Name)
	output, err := command.CombinedOutput() // standard input is the null device
	if command.ProcessState.ExitCode() != 2 || bytes.Count(output, []byte("\n")) != 1 {
		t.Errorf("%v, %q, want exit code 2 and one line", err, output)
	}
}

func TestEndsWithItsInput(t *testing.T) {
	command := exec.Command(os.Args[0], hashworker.Name)
	input, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	if err := input.Close(); err != nil {
		t.Fatal(err)
	}
	if err := command.Wait(); err != nil {
		t.Error(err)
	}
}
