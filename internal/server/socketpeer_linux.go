package server

import (
	"net"
	"strconv"

	"golang.org/x/sys/unix"
)

// peerOf returns the user ID of the process that connected, as the kernel reports it.
func peerOf(socket *net.UnixConn) (uid string, ok bool) {
	raw, err := socket.SyscallConn()
	if err != nil {
		return "", false
	}
	var credentials *unix.Ucred
	controlled := raw.Control(func(descriptor uintptr) {
		credentials, err = unix.GetsockoptUcred(int(descriptor), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if controlled != nil || err != nil {
		return "", false
	}
	return strconv.FormatUint(uint64(credentials.Uid), 10), true
}
