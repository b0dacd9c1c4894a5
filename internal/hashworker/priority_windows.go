package hashworker

import (
	"syscall"

	"golang.org/x/sys/windows"
)

// apart starts the process with the lowest priority, and keeps Ctrl-C from it.
func apart() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{CreationFlags: windows.IDLE_PRIORITY_CLASS | windows.CREATE_NEW_PROCESS_GROUP}
}

// lower has nothing to do: see apart.
func lower() {}
