package server_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/server"
	"github.com/latchkey/latchkey/internal/testsupport"
)

const healthRequest = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"

// connect opens a connection from a local address, with a request in progress if busy.
func (s *service) connect(from string, busy bool) net.Conn {
	s.t.Helper()
	dialer := &net.Dialer{}
	if from != "" {
		dialer.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
	}
	conn, err := dialer.Dial("tcp", s.address)
	s.must(err)
	s.t.Cleanup(func() { _ = conn.Close() })
	s.must(conn.SetDeadline(time.Now().Add(time.Minute)))
	if busy {
		_, err = io.WriteString(conn, "POST /api/m2m/v1/session/login HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{")
		s.must(err)
	}
	return conn
}

// healthy reports whether a connection gets a response.
func healthy(conn net.Conn) bool {
	if _, err := io.WriteString(conn, healthRequest); err != nil {
		return false
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return false
	}
	return response.Body.Close() == nil && response.StatusCode == http.StatusOK
}

// One address has as many connections as it may. Its next one is closed, or takes the place of
// an idle one; other addresses, proxies and Unix sockets are served.
func TestConnectionsOfOneAddressAreBounded(t *testing.T) {
	t.Parallel()
	another := "127.0.0.2"
	if probe, err := net.Listen("tcp", another+":0"); err != nil {
		another = "" // not Linux; the proxy below is tested anyway
	} else {
		_ = probe.Close()
	}
	socket := filepath.Join(t.TempDir(), "s")
	local, err := server.ListenUnix(socket)
	if err != nil {
		t.Fatal(err)
	}
	s := start(t, setup{alone: true, further: []net.Listener{local}, server: server.Config{MaxConnections: 8,
		MaxConnectionsPerAddress: 3, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.3/32")}}})
	busy := []net.Conn{s.connect("", true), s.connect("", true), s.connect("", true)}
	metrics := func(line string) func() bool {
		return func() bool {
			conn, err := net.Dial("unix", socket)
			s.must(err)
			defer func() { _ = conn.Close() }()
			_, err = io.WriteString(conn, "GET /metrics HTTP/1.0\r\n\r\n")
			s.must(err)
			page, err := io.ReadAll(conn)
			s.must(err)
			return strings.Contains(string(page), "\n"+line+"\n")
		}
	}
	testsupport.Eventually(t, "three connections and the socket's own", metrics("latchkey_connections 4"))
	if healthy(s.connect("", false)) {
		t.Error("a fourth connection of the address was served")
	}
	testsupport.Eventually(t, "the refusal in the metrics", metrics("latchkey_connections_refused_total 1"))
	if another != "" {
		if !healthy(s.connect(another, false)) {
			t.Error("a connection of another address was not served")
		}
		for range 4 {
			if !healthy(s.connect("127.0.0.3", false)) {
				t.Error("a connection of a trusted proxy was not served")
			}
		}
	}
	// The last connection is idle, so it makes room.
	_ = busy[2].Close()
	idle := s.connect("", false)
	testsupport.Eventually(t, "a response on the third connection", func() bool {
		if healthy(idle) {
			return true
		}
		idle = s.connect("", false)
		return false
	})
	testsupport.Eventually(t, "a response instead of the idle connection",
		func() bool { return healthy(s.connect("", false)) })
}

// A flood over TCP takes no connection of a Unix socket.
func TestUnixSocketsHaveConnectionsOfTheirOwn(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "s")
	local, err := server.ListenUnix(socket)
	if err != nil {
		t.Fatal(err)
	}
	s := start(t, setup{alone: true, further: []net.Listener{local},
		server: server.Config{MaxConnections: 2, MaxConnectionsPerAddress: 2}})
	for range 4 {
		s.connect("", true)
	}
	for range 3 {
		conn, err := net.Dial("unix", socket)
		s.must(err)
		if !healthy(conn) {
			t.Error("a request over the socket was not served")
		}
		_ = conn.Close()
	}
}
