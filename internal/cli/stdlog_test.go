package cli_test

import (
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/cli"
)

// lines is a writer that sends each write to a channel.
type lines chan string

func (l lines) Write(p []byte) (int, error) {
	l <- string(p)
	return len(p), nil
}

// A server sends more than its response. The HTTP client must not log the extra bytes.
func TestUnsolicitedResponsesAreNotLogged(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer func() { _ = conn.Close() }()
		_, _ = conn.Read(make([]byte, 4096))
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok{\"sessionToken\":\"bcce3ea6\"}")
		_, _ = conn.Read(make([]byte, 1)) // until the other end closes
	}()
	before := log.Writer()
	defer log.SetOutput(before)
	logged := make(lines, 10)
	log.SetOutput(cli.StandardLog(logged))
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport}).Get("http://" + listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	select {
	case line := <-logged:
		if strings.Contains(line, "bcce3ea6") || strings.Contains(line, "sessionToken") ||
			!strings.Contains(line, "nsolicited response") {
			t.Errorf("logged: %q", line)
		}
	case <-time.After(10 * time.Second):
		t.Error("nothing was logged: net/http has changed")
	}
	log.Print("another line")
	if line := <-logged; !strings.HasSuffix(line, "another line\n") {
		t.Errorf("logged: %q", line)
	}
}
