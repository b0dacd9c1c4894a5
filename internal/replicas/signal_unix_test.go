//go:build unix

package replicas_test

import "syscall"

// What stops a process, and has it go on.
const (
	stopSignal = syscall.SIGSTOP
	goOnSignal = syscall.SIGCONT
)
