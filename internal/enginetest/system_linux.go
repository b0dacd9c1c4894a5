package enginetest

import (
	"bytes"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"
)

// supported reports whether the system can end servers together with this process.
const supported = true

// attributes returns the attributes of a process: its own process group, the user, and the signal
// that it gets when this process ends.
func attributes(owner *user.User, farewell syscall.Signal) (*syscall.SysProcAttr, error) {
	a := &syscall.SysProcAttr{Setpgid: true, Pdeathsig: farewell}
	if owner == nil {
		return a, nil
	}
	uid, gid, err := numbers(owner)
	a.Credential = &syscall.Credential{Uid: uid, Gid: gid}
	return a, err
}

// alive reports whether there is a process with this ID.
func alive(pid int) bool {
	return syscall.Kill(pid, 0) != syscall.ESRCH
}

// kill kills the process and all its descendants, and waits until they are gone. Killing the
// group is not enough, because the processes of PostgreSQL have their own sessions.
func (p *process) kill() {
	if p.hasEnded() {
		return
	}
	_ = syscall.Kill(p.pid(), syscall.SIGSTOP) // now it starts no more processes
	children := descendants(p.pid())
	for _, pid := range append(children, p.pid(), -p.pid()) {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	<-p.ended
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for slices.ContainsFunc(children, func(pid int) bool { _, runs := parent(pid); return runs }) {
		<-tick.C
	}
}

// interrupt sends the process a signal, and kills it if it has not ended after ten seconds.
func (p *process) interrupt(signal syscall.Signal) {
	if p.hasEnded() {
		return
	}
	_ = syscall.Kill(p.pid(), signal)
	select {
	case <-p.ended:
	case <-time.After(10 * time.Second):
		p.kill()
	}
}

// descendants returns the IDs of the child processes of a process, and of theirs.
func descendants(root int) []int {
	children := map[int][]int{}
	paths, _ := filepath.Glob("/proc/[0-9]*")
	for _, path := range paths {
		pid, _ := strconv.Atoi(filepath.Base(path))
		if of, runs := parent(pid); runs {
			children[of] = append(children[of], pid)
		}
	}
	found := slices.Clone(children[root])
	for i := 0; i < len(found); i++ {
		found = append(found, children[found[i]]...)
	}
	return found
}

// parent returns the parent of a process, and whether the process is running. A zombie is not.
func parent(pid int) (of int, runs bool) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, false
	}
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:]) // the name before it may contain spaces
	if len(fields) < 2 || bytes.ContainsAny(fields[0], "ZX") {
		return 0, false
	}
	of, err = strconv.Atoi(string(fields[1]))
	return of, err == nil
}
