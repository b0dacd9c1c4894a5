//go:build unix

package server

import "syscall"

// openFiles returns how many files the process may have open, or 0 if that is unknown.
func openFiles() int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0
	}
	return int(min(uint64(limit.Cur), 1<<30)) //nolint:unconvert // the type differs by platform
}
