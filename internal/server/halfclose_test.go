package server_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey/latchkey/internal/admin"
	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/server"
	"github.com/latchkey/latchkey/internal/store/sqlite"
	"github.com/latchkey/latchkey/internal/wire"
)

// waiting is a store whose reservations wait until they are released or canceled.
type waiting struct {
	authority.StrikeStore
	arrived, release chan struct{}
	unwanted         chan error
}

func newWaiting() *waiting {
	return &waiting{arrived: make(chan struct{}, 100), release: make(chan struct{}), unwanted: make(chan error, 100)}
}

func (w *waiting) of(db *sqlite.DB) authority.Stores {
	stores := db.Stores()
	w.StrikeStore, stores.Strikes = stores.Strikes, w
	return stores
}

func (w *waiting) UpdateStrikes(ctx context.Context, key authority.StrikeKey,
	change func(*authority.Strikes) error) error {
	strikes := authority.Strikes{}
	if _ = change(&strikes); len(strikes.Reservations) == 0 {
		return w.StrikeStore.UpdateStrikes(ctx, key, change) // it settles a reservation
	}
	w.arrived <- struct{}{}
	select {
	case <-w.release:
	case <-ctx.Done():
		w.unwanted <- ctx.Err()
		return ctx.Err()
	}
	return w.StrikeStore.UpdateStrikes(ctx, key, change)
}

func dialTCP(t *testing.T, address string) *net.TCPConn {
	t.Helper()
	to, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.DialTCP("tcp", nil, to)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// halfClosed sends a request, closes the sending side, and reads one response after the
// server has noticed.
func halfClosed(t *testing.T, conn interface {
	io.ReadWriter
	CloseWrite() error
}, request string, meanwhile func()) (status int, body string) {
	t.Helper()
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	meanwhile()
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("%q: %v", strings.SplitN(request, "\r\n", 2)[0], err)
	}
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

func TestACallerThatClosesItsSendingSideGetsItsResponse(t *testing.T) {
	t.Parallel()
	store := newWaiting()
	s := start(t, setup{alone: true, stores: store.of})
	certificate, _, err := server.SelfSigned("127.0.0.1")
	s.must(err)
	secure, err := net.Listen("tcp", "127.0.0.1:0")
	s.must(err)
	running, stop := context.WithCancel(context.Background())
	done := make(chan error)
	go func() {
		done <- server.New(server.Config{Authority: s.authority,
			TLS: &tls.Config{Certificates: []tls.Certificate{certificate}}, Log: slog.New(slog.DiscardHandler)}).Run(running,
			secure, nil)
	}()
	defer func() { stop(); s.must(<-done) }()
	bearer := s.bearer()
	for range 5 {
		for _, over := range []string{"TCP", "TLS"} {
			var conn interface {
				io.ReadWriteCloser
				CloseWrite() error
			}
			if over == "TCP" {
				conn = dialTCP(t, s.address)
			} else {
				conn, err = tls.Dial("tcp", secure.Addr().String(), &tls.Config{InsecureSkipVerify: true})
				s.must(err)
			}
			status, body := halfClosed(t, conn, loginRequest(bearer, goodLogin), func() {
				<-store.arrived
				store.release <- struct{}{}
			})
			if status != 200 || !strings.Contains(body, "sessionToken") {
				t.Errorf("over %s a login returned %d %s", over, status, body)
			}
			_ = conn.Close()
		}
	}
	if n := s.events(authority.EventLogIn); n != 10 {
		t.Errorf("%d logins are on the trail, want 10", n)
	}
}

// halfPipe is the server's end of an in-memory connection whose other end may close its
// sending side.
type halfPipe struct {
	net.Conn           // to the caller
	from     io.Reader // the caller
}

func (h halfPipe) Read(b []byte) (int, error) { return h.from.Read(b) }

func TestAClosedSendingSideDoesNotCancelTheRequest(t *testing.T) {
	t.Parallel()
	store := newWaiting()
	inBubble(t, store.of, server.Config{}, func(p *pipes, bearer string) {
		store.release = make(chan struct{}) // of the bubble
		store.arrived, store.unwanted = make(chan struct{}, 1), make(chan error, 1)
		receiving, theirs := net.Pipe()
		from, sending := io.Pipe()
		p.conns <- halfPipe{theirs, from}
		if _, err := io.WriteString(sending, loginRequest(bearer, goodLogin)); err != nil {
			t.Fatal(err)
		}
		<-store.arrived
		_ = sending.Close()
		synctest.Wait() // the server has read the end
		if len(store.unwanted) > 0 {
			t.Error("the login was given up")
		}
		close(store.release)
		response, err := http.ReadResponse(bufio.NewReader(receiving), nil)
		if err != nil || response.StatusCode != 200 {
			t.Fatalf("the login returned %v, %v", response, err)
		}
		_, _ = io.ReadAll(response.Body)
		_ = receiving.Close()
	})
}

// The operations that use a store with the request's context.
func TestEveryOperationContinuesAfterAClosedSendingSide(t *testing.T) {
	t.Parallel()
	s := start(t, setup{alone: true})
	tokens := s.session(user, password)
	head := func(method, path, body string, headers ...string) string {
		request := method + " " + path + " HTTP/1.1\r\nHost: x\r\n"
		for i := 0; i < len(headers); i += 2 {
			request += headers[i] + ": " + headers[i+1] + "\r\n"
		}
		return request + "Content-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n" + body
	}
	client := []string{"Authorization", basic(apiKey, apiSecret), "Content-Type", wire.MediaTypeForm}
	for range 5 {
		for _, request := range []string{
			head("POST", wire.PathToken, "grant_type=client_credentials", client...),
			head("GET", wire.PathVerify, "", tokens...),
			head("GET", wire.PathSession, "", tokens...),
			head("PUT", wire.PathResetPassword, `{"oldPassword":"`+password+`"}`, tokens...),
			head("GET", wire.PathReady, ""),
		} {
			conn := dialTCP(t, s.address)
			status, body := halfClosed(t, conn, request, func() {})
			if status != 200 {
				t.Errorf("%q returned %d %s", strings.SplitN(request, "\r\n", 2)[0], status, body)
			}
			_ = conn.Close()
		}
	}
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: s.socket, Net: "unix"})
	s.must(err)
	defer func() { _ = conn.Close() }()
	status, body := halfClosed(t, conn, head("POST", admin.PathUserPassword,
		`{"name":"`+user+`","password":"another password"}`), func() {})
	if status != 204 && status != 200 {
		t.Errorf("the admin API returned %d %s", status, body)
	}
}

func TestACallerThatDisconnectsFreesItsPlace(t *testing.T) {
	store := newWaiting()
	s := start(t, setup{alone: true, stores: store.of})
	bearer := s.bearer()
	conn := dialTCP(t, s.address)
	_, err := io.WriteString(conn, loginRequest(bearer, goodLogin))
	s.must(err)
	<-store.arrived
	s.must(conn.SetLinger(0)) // the close resets the connection
	s.must(conn.Close())
	select {
	case err := <-store.unwanted:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("it was given up: %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("a login whose caller reset the connection still waits")
		close(store.release)
	}
}

// leveled counts the lines of a log by level.
type leveled struct {
	lines   [4]atomic.Int64
	written chan struct{} // has a token when there is a new line
}

func (l *leveled) handler() slog.Handler {
	return slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug})
}

func (l *leveled) Write(line []byte) (int, error) {
	for i, level := range []string{"DEBUG", "INFO", "WARN", "ERROR"} {
		if strings.Contains(string(line), "level="+level) {
			l.lines[i].Add(1)
		}
	}
	select {
	case l.written <- struct{}{}:
	default:
	}
	return len(line), nil
}

func TestHealthChecksOfTheTLSPortAreQuietAndErrorsAreNot(t *testing.T) {
	certificate, _, err := server.SelfSigned("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	log := &leveled{written: make(chan struct{}, 1)}
	s := start(t, setup{})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	s.must(err)
	running, stop := context.WithCancel(context.Background())
	done := make(chan error)
	secure := server.New(server.Config{Authority: s.authority,
		TLS: &tls.Config{Certificates: []tls.Certificate{certificate}}, Log: slog.New(log.handler())})
	go func() { done <- secure.Run(running, listener, nil) }()
	dial := func() *net.TCPConn { return dialTCP(t, listener.Addr().String()) }
	lines := func(level int, want int64) {
		t.Helper()
		for limit := time.After(10 * time.Second); log.lines[level].Load() < want; {
			select {
			case <-log.written:
			case <-limit:
				t.Fatalf("the log has %d lines of level %d, want %d", log.lines[level].Load(), level, want)
			}
		}
		if n := log.lines[level].Load(); n != want {
			t.Fatalf("the log has %d lines of level %d, want %d", n, level, want)
		}
	}
	for i := range 20 {
		conn := dial()
		if i%2 == 0 {
			s.must(conn.SetLinger(0)) // as HAProxy does
		}
		s.must(conn.Close())
	}
	lines(0, 20)
	lines(2, 0)
	hello := dial() // ends in the middle
	_, err = hello.Write([]byte("\x16\x03\x01\x02\x00\x01"))
	s.must(err)
	s.must(hello.Close())
	lines(2, 1)
	inClear := dial() // speaks HTTP
	_, err = io.WriteString(inClear, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	s.must(err)
	_, _ = io.ReadAll(inClear)
	_ = inClear.Close()
	lines(2, 2)
	distrustful, err := tls.Dial("tcp", listener.Addr().String(),
		&tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12})
	if err == nil {
		_ = distrustful.Close()
		t.Error("a client that trusts no certificate connected")
	}
	lines(2, 3)
	for range 100 { // a flood is counted
		conn := dial()
		_, _ = conn.Write([]byte("nonsense"))
		_, _ = io.ReadAll(conn)
		_ = conn.Close()
	}
	lines(0, 113)
	for range 50 { // agrees on HTTP/2, and speaks another version
		conn, err := tls.Dial("tcp", listener.Addr().String(),
			&tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
		s.must(err)
		_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		_, _ = io.ReadAll(conn)
		_ = conn.Close()
	}
	lines(0, 163)
	if n := log.lines[2].Load(); n < 4 || n > 20 {
		t.Errorf("103 handshake errors made %d warnings, want some", n)
	}
	stop()
	s.must(<-done)
}

func TestAnHTTP10ClientMayOfferItInTheTLSHandshake(t *testing.T) {
	t.Parallel()
	certificate, _, err := server.SelfSigned("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	overTLS(t, &tls.Config{Certificates: []tls.Certificate{certificate}}, func(address string) {
		for offered, want := range map[string]string{
			"http/1.0": "http/1.0", "http/1.0 http/1.1": "http/1.1", "http/1.1": "http/1.1", "http/1.0 http/1.1 h2": "h2",
			"": "",
		} {
			conn, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true, NextProtos: strings.Fields(offered)})
			if err != nil {
				t.Errorf("a client that offers %q: %v", offered, err)
				continue
			}
			if got := conn.ConnectionState().NegotiatedProtocol; got != want {
				t.Errorf("a client that offers %q speaks %q, want %q", offered, got, want)
			}
			if want == "http/1.0" {
				_, _ = io.WriteString(conn, "GET "+wire.PathHealth+" HTTP/1.0\r\n\r\n")
				answer, _ := io.ReadAll(conn)
				if !strings.HasPrefix(string(answer), "HTTP/1.0 200") {
					t.Errorf("it returned %q", answer)
				}
			}
			_ = conn.Close()
		}
		if _, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true,
			NextProtos: []string{"smtp"}}); err == nil {
			t.Error("a client that speaks none of them was accepted")
		}
		curl, err := exec.LookPath("curl")
		if err != nil {
			return
		}
		out, err := exec.Command(curl, "--http1.0", "-sSk", "https://"+address+wire.PathHealth).CombinedOutput()
		if err != nil {
			t.Errorf("curl --http1.0: %v %s", err, out)
		}
	})
}
