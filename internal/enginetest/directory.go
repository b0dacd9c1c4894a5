package enginetest

import (
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
)

// prefix begins the name of every directory; the process's number follows.
const prefix = "latchkey-enginetest-"

// newDirectory makes a directory for a server that runs as owner, or as ourselves if
// that is nil. Nothing is run when a test process is killed, so that the next one
// removes what is left.
func newDirectory(owner *user.User) (string, error) {
	sweep()
	path, err := os.MkdirTemp("", prefix+strconv.Itoa(os.Getpid())+"-")
	if err != nil || owner == nil {
		return path, err
	}
	uid, gid, err := numbers(owner)
	if err == nil {
		err = os.Chown(path, int(uid), int(gid))
	}
	return path, err
}

// sweep removes the directories of processes that are no more.
var sweep = sync.OnceFunc(func() {
	paths, _ := filepath.Glob(filepath.Join(os.TempDir(), prefix+"*"))
	for _, path := range paths {
		number, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(path), prefix), "-")
		if pid, err := strconv.Atoi(number); err == nil && !alive(pid) {
			_ = os.RemoveAll(path)
		}
	}
})

// servant is whom servers run as that refuse root: nil, which is ourselves, where we
// are not root.
var servant = sync.OnceValues(func() (*user.User, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	if postgres, err := user.Lookup("postgres"); err == nil {
		return postgres, nil
	}
	return user.Lookup("nobody")
})

// numbers are the user's and the group's.
func numbers(owner *user.User) (uid, gid uint32, err error) {
	u, err := strconv.ParseUint(owner.Uid, 10, 32)
	if err != nil {
		return 0, 0, err
	}
	g, err := strconv.ParseUint(owner.Gid, 10, 32)
	return uint32(u), uint32(g), err
}
