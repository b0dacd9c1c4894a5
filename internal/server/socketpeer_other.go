//go:build !linux

package server

import "net"

// peerOf returns false: this system does not report the user.
func peerOf(*net.UnixConn) (uid string, ok bool) { return "", false }
