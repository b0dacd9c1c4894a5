package enginetest

import (
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
)

// prefix is the beginning of the name of every directory. The process ID follows.
const prefix = "latchkey-enginetest-"

// newDirectory creates a directory for a server that runs as owner, or as the current user if
// owner is nil. A test process that is killed cannot remove its directories, so the next one
// does.
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

// sweep removes the directories of processes that have ended.
var sweep = sync.OnceFunc(func() {
	paths, _ := filepath.Glob(filepath.Join(os.TempDir(), prefix+"*"))
	for _, path := range paths {
		number, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(path), prefix), "-")
		if pid, err := strconv.Atoi(number); err == nil && !alive(pid) {
			_ = os.RemoveAll(path)
		}
	}
})

// unprivileged returns the user for servers that refuse to run as root, or nil if the current
// user is not root.
var unprivileged = sync.OnceValues(func() (*user.User, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	if postgres, err := user.Lookup("postgres"); err == nil {
		return postgres, nil
	}
	return user.Lookup("nobody")
})

// numbers returns the user ID and the group ID of a user.
func numbers(owner *user.User) (uid, gid uint32, err error) {
	u, err := strconv.ParseUint(owner.Uid, 10, 32)
	if err != nil {
		return 0, 0, err
	}
	g, err := strconv.ParseUint(owner.Gid, 10, 32)
	return uint32(u), uint32(g), err
}
