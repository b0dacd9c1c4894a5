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
	"time"

	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/hashworker"
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

// screen is a log.
type screen struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *screen) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(b)
}

func (s *screen) count(text string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Count(s.text.String(), text)
}

// defects returns how often the log says that the process cannot start, ended, or failed.
func (s *screen) defects() int {
	return s.count("cannot be started") + s.count("passwords ended") + s.count("passwords reports")
}

func newWorker(t *testing.T) (*hashworker.Worker, *screen) {
	t.Helper()
	said := &screen{}
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

// await waits until true is returned. The limit only ends a test that fails.
func await(t *testing.T, what string, is func() bool) {
	t.Helper()
	for limit := time.Now().Add(30 * time.Second); !is(); <-time.After(time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("%s: not within 30 s", what)
		}
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
	await(t, "a process", func() bool { return w.Pid() != 0 })
	pid := w.Pid()
	check(t, w, cheap, strings.Repeat("too long", 4000)) // hashed here
	if w.Pid() != pid || said.defects() != 0 {
		t.Errorf("the process is another, or the log has a defect: %s", said.text.String())
	}
}

func TestKilledWhileItHashes(t *testing.T) {
	w, said := newWorker(t)
	check(t, w, cheap, "starts it")
	await(t, "a process", func() bool { return w.Pid() != 0 })
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
	await(t, "the log line", func() bool { return said.count("process that hashes passwords ended") == 1 })
	w.Retry()
	check(t, w, cheap, "starts another")
	await(t, "another process", func() bool { return w.Pid() != 0 && w.Pid() != first })
}

func TestClosed(t *testing.T) {
	w, said := newWorker(t)
	check(t, w, cheap, "a")
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	check(t, w, cheap, "b")
	if w.Pid() != 0 || said.defects() != 0 {
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
