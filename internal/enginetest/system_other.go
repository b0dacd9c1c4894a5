//go:build !linux

package enginetest

import (
	"os/user"
	"syscall"
)

// supported reports whether the system can end servers together with this process.
const supported = false

func attributes(*user.User, syscall.Signal) (*syscall.SysProcAttr, error) { return nil, ErrMissing }

func alive(int) bool { return true }

func (p *process) kill() {
	_ = p.command.Process.Kill()
	<-p.ended
}

func (p *process) interrupt(syscall.Signal) { p.kill() }
