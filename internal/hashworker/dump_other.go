//go:build unix && !linux

package hashworker

import "syscall"

// undumpable keeps passwords out of core files.
func undumpable() { _ = syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{}) }
