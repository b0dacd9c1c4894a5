package enginetest_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/enginetest"
)

// echo starts a server that sends back what it receives, and returns its address.
func echo(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(conn, conn); _ = conn.Close() }()
		}
	}()
	return listener.Addr().String()
}

// line sends a line and returns how long it took until it came back.
func line(conn net.Conn, within time.Duration) (time.Duration, error) {
	begin := time.Now()
	_ = conn.SetDeadline(begin.Add(within))
	if _, err := io.WriteString(conn, "hello\n"); err != nil {
		return 0, err
	}
	_, err := bufio.NewReader(conn).ReadString('\n')
	return time.Since(begin), err
}

func TestProxyDelaysCutsAndHeals(t *testing.T) {
	t.Parallel()
	p := enginetest.StartProxy(t, echo(t))
	dial := func() net.Conn {
		t.Helper()
		conn, err := net.Dial("tcp", p.Addr())
		must(t, err)
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
	works := func(conn net.Conn) {
		t.Helper()
		_, err := line(conn, 10*time.Second)
		must(t, err)
	}
	conn := dial()
	works(conn)

	p.Latency(10 * time.Second)
	const late = 50 * time.Millisecond
	p.Latency(late)
	for _, conn := range []net.Conn{conn, dial()} {
		if took, err := line(conn, 5*time.Second); err != nil || took < late {
			t.Fatalf("the line came back after %v, %v", took, err)
		}
	}
	p.Heal()
	works(conn)

	p.Stall()
	for _, conn := range []net.Conn{conn, dial()} {
		if _, err := line(conn, 50*time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("while the proxy stalls: %v", err)
		}
	}
	p.Heal()
	conn = dial()
	works(conn)

	p.Latency(10 * time.Second)
	for range 2 {
		p.Cut()
		if _, err := line(conn, 5*time.Second); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("on a cut connection: %v", err)
		}
		if _, err := net.Dial("tcp", p.Addr()); err == nil {
			t.Fatal("a cut proxy accepts connections")
		}
		p.Heal()
		conn = dial()
		works(conn)
	}
}
