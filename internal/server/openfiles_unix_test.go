//go:build unix

package server_test

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
)

func TestConnectionsLeaveFilesForOthers(t *testing.T) { // not parallel: it changes the limit of the process
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	low := limit
	low.Cur = 3000
	if limit.Cur < low.Cur {
		low.Cur = limit.Cur
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &low); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
			t.Fatal(err)
		}
	}()
	s := start(t, setup{alone: true})
	want := fmt.Sprintf("connections=%d openFiles=%d", max(low.Cur-min(low.Cur, 2000), low.Cur/2), low.Cur)
	if log := s.log.String(); !strings.Contains(log, want) {
		t.Errorf("the log lacks %q:\n%s", want, log)
	}
}
