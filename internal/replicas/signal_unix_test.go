//go:build unix

package replicas_test

import "syscall"

// The signals that stop and continue a process.
const (
	stopSignal     = syscall.SIGSTOP
	continueSignal = syscall.SIGCONT
)
