//go:build unix

package server_test

import (
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
	if log := s.log.String(); !strings.Contains(log, "connections=1500") && !strings.Contains(log, "openFiles=") {
		t.Errorf("with %d files the log says nothing of fewer connections:\n%s", low.Cur, log)
	}
}
