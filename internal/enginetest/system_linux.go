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

// supported says whether servers can be had that do not outlive us.
const supported = true

// attributes of a process: a group of its own, the user, and the signal that it is
// sent when we end.
func attributes(owner *user.User, farewell syscall.Signal) (*syscall.SysProcAttr, error) {
	a := &syscall.SysProcAttr{Setpgid: true, Pdeathsig: farewell}
	if owner == nil {
		return a, nil
	}
	uid, gid, err := numbers(owner)
	a.Credential = &syscall.Credential{Uid: uid, Gid: gid}
	return a, err
}

// alive says whether there is a process of that number.
func alive(pid int) bool {
	return syscall.Kill(pid, 0) != syscall.ESRCH
}

// kill ends the process and all that it has started, at once, and waits until they are
// no more. PostgreSQL's have sessions of their own, so that the group is not enough.
func (p *process) kill() {
	if p.over() {
		return
	}
	_ = syscall.Kill(p.pid(), syscall.SIGSTOP) // from here on it starts nothing
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

// interrupt asks the process to end now, and kills it if it has not in a while.
func (p *process) interrupt(signal syscall.Signal) {
	if p.over() {
		return
	}
	_ = syscall.Kill(p.pid(), signal)
	select {
	case <-p.ended:
	case <-time.After(10 * time.Second):
		p.kill()
	}
}

// descendants are the processes that a process has started, and that those have.
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

// parent is who started a process, and whether that still runs. One that is dead and
// was not asked for its result does not.
func parent(pid int) (of int, runs bool) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, false
	}
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:]) // the name before may hold blanks
	if len(fields) < 2 || bytes.ContainsAny(fields[0], "ZX") {
		return 0, false
	}
	of, err = strconv.Atoi(string(fields[1]))
	return of, err == nil
}
