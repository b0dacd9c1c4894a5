//go:build unix

package hashworker

import "syscall"

// niceness is the nice value of the process.
const niceness = 19

// apart gives the process a group of its own: a signal of the terminal does not reach it, and
// lower applies to it alone. It stays in the session, in which Linux shares out the processor
// by priority.
func apart() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// lower gives all threads of this process this priority, because Linux keeps one for
// each. What may not be changed stays as it is.
func lower() {
	_ = syscall.Setpriority(syscall.PRIO_PGRP, 0, niceness)
	undumpable()
}
