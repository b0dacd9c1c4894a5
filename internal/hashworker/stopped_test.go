//go:build unix

package hashworker_test

import (
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/testsupport"
)

// A process that gets no processor time delays each hash by about a second, is not given more
// hashes than callers wait, and is used again later.
func TestStopped(t *testing.T) {
	w, said := newWorker(t)
	check(t, w, cheap, "starts it")
	testsupport.Eventually(t, "a process", func() bool { return w.Pid() != 0 })
	pid := w.Pid()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	var group sync.WaitGroup
	for range 3 {
		group.Go(func() { check(t, w, cheap, "together") })
	}
	group.Wait()
	begun := w.Hashes()
	if begun < 1 || begun > 3 {
		t.Errorf("the process makes %d hashes for three callers", begun)
	}
	check(t, w, cheap, "alone")
	if got := w.Hashes(); got != begun {
		t.Errorf("the process makes %d hashes after another caller, want the same %d", got, begun)
	}
	if took := time.Since(begin); took > 30*time.Second { // two times one second, on a busy machine
		t.Errorf("the hashes took %v", took)
	}
	if n := count(said, "is slow"); n != 1 {
		t.Errorf("the log says %d times that the process is slow, want once", n)
	}
	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	testsupport.Eventually(t, "the late sums", func() bool { return w.Hashes() == 0 })
	testsupport.Eventually(t, "a sum in time", func() bool {
		before := w.Sums()
		check(t, w, cheap, "again")
		return w.Sums() == before+1
	})
	if w.Pid() != pid || defects(said) != 0 {
		t.Errorf("the process is another, or the log has a defect: %s", said)
	}
}

// Close ends a process that is stopped.
func TestClosedWhileStopped(t *testing.T) {
	w, _ := newWorker(t)
	check(t, w, cheap, "starts it")
	testsupport.Eventually(t, "a process", func() bool { return w.Pid() != 0 })
	if err := syscall.Kill(w.Pid(), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
}
