package server_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/secret"
	"github.com/latchkey/latchkey/internal/server"
	"github.com/latchkey/latchkey/internal/store/sqlite"
	"github.com/latchkey/latchkey/internal/wire"
)

func TestHeadersAreBounded(t *testing.T) {
	s := start(t, setup{})
	tokens := s.session(user, password)
	request := func(path string, fields ...string) string {
		return "GET " + path + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: " + tokens[1] +
			"\r\nVZ-M2M-Token: " + tokens[3] + "\r\n" + strings.Join(fields, "") + "\r\n"
	}
	var different []string
	for i := range 200 {
		different = append(different, fmt.Sprintf("X-%d: 1\r\n", i))
	}
	same := make([]string, 200)
	for i := range same {
		same[i] = "X-Same: 1\r\n"
	}
	for _, path := range []string{wire.PathVerify, wire.PathSession, "/nowhere"} {
		for name, fields := range map[string][]string{"of different names": different, "of one name": same} {
			r := s.raw(request(path, fields...))
			if r.status != 431 || r.code() != wire.FaultHeaders {
				t.Errorf("%s with 200 fields %s returned %d %s, want the fault 431", path, name, r.status, r.body)
			}
		}
		if r := s.raw(request(path, "X-Long: "+strings.Repeat("x", 24<<10)+"\r\n")); r.status != 431 {
			t.Errorf("%s with a header of 24 KiB returned %d, want 431", path, r.status)
		}
	}
	if r := s.raw(request(wire.PathVerify, different[:90]...)); r.status != 200 {
		t.Errorf("a request with 93 fields returned %d %s", r.status, r.body)
	}
}

func TestABodyOverItsBoundIsRefusedWithoutReadingIt(t *testing.T) {
	t.Parallel()
	s := start(t, setup{})
	bearer := s.bearer()
	// The body never arrives. A response shows that the server does not wait for it.
	r := s.raw("POST " + wire.PathLogIn + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: " + bearer +
		"\r\nContent-Length: 1000000000\r\n\r\n")
	expect(t, "a login that announces a gigabyte", r, unreadable)
}

// pipes is an in-memory listener, so that in a bubble only deadlines move the time.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func newPipes() *pipes { return &pipes{make(chan net.Conn), make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.conns:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error { close(p.closed); return nil }

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }

func (p *pipes) dial() net.Conn {
	ours, theirs := net.Pipe()
	p.conns <- theirs
	return ours
}

// inBubble runs a service in a bubble of synctest, where deadlines pass as soon as every
// goroutine waits.
func inBubble(t *testing.T, stores func(*sqlite.DB) authority.Stores, config server.Config,
	test func(p *pipes, bearer string)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		db, err := sqlite.Open(ctx, sqlite.Options{})
		if err != nil {
			t.Fatal(err)
		}
		a, err := authority.New(authority.Config{Stores: stores(db), Key: make([]byte, 32),
			Hash: authority.HashParams{MemoryKiB: 64, Passes: 1, Lanes: 1}})
		if err != nil {
			t.Fatal(err)
		}
		if err := a.AddKnownClient(ctx, "the tests", authority.Credentials{Key: apiKey, Secret: apiSecret},
			authority.Origin{}); err != nil {
			t.Fatal(err)
		}
		if _, err := a.AddUser(ctx, user, secret.Text(password), authority.Origin{}); err != nil {
			t.Fatal(err)
		}
		token, err := a.IssueAccessToken(ctx, apiKey, apiSecret)
		if err != nil {
			t.Fatal(err)
		}
		running, stop := context.WithCancel(ctx)
		done := make(chan error)
		p := newPipes()
		config.Authority, config.Log = a, slog.New(slog.DiscardHandler)
		go func() { done <- server.New(config).Run(running, p, nil) }()
		test(p, "Bearer "+token.Token.Reveal())
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := db.Close(ctx); err != nil {
			t.Error(err)
		}
	})
}

func plain(db *sqlite.DB) authority.Stores { return db.Stores() }

func loginRequest(bearer, body string) string {
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: %s\r\nContent-Length: %d\r\n\r\n%s", wire.PathLogIn,
		bearer, len(body), body)
}

const goodLogin = `{"username":"` + user + `","password":"` + password + `"}`

func TestConnectionsBeyondTheBoundWait(t *testing.T) {
	t.Parallel()
	inBubble(t, plain, server.Config{MaxConnections: 2}, func(p *pipes, _ string) {
		first, second := p.dial(), p.dial()
		defer func() { _ = second.Close() }()
		accepted := false
		go func() {
			conn := p.dial()
			accepted = true
			_ = conn.Close() // it was only to be accepted
		}()
		synctest.Wait()
		if accepted {
			t.Error("a third connection was accepted while two were open")
		}
		_ = first.Close() // makes room
		synctest.Wait()
		if !accepted {
			t.Error("once there was room the third connection was not accepted")
		}
	})
}

// TestConnectionsWithoutARequestMakeRoom opens as many connections as are permitted, without
// a request or with half of one.
func TestConnectionsWithoutARequestMakeRoom(t *testing.T) {
	t.Parallel()
	for name, sent := range map[string]string{"nothing": "", "half a header": healthRequest[:20],
		"a request, and now idle": healthRequest} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, plain, server.Config{MaxConnections: 5}, func(p *pipes, bearer string) {
				working := p.dial() // with half a body: a request is in progress
				defer func() { _ = working.Close() }()
				whole := loginRequest(bearer, goodLogin)
				if _, err := io.WriteString(working, whole[:len(whole)-1]); err != nil {
					t.Fatal(err)
				}
				for range 5 {
					conn := p.dial()
					defer func() { _ = conn.Close() }()
					go func() {
						_, _ = io.WriteString(conn, sent)
						_, _ = io.Copy(io.Discard, conn)
					}()
				}
				began := time.Now()
				conn := p.dial()
				defer func() { _ = conn.Close() }()
				if _, err := io.WriteString(conn, whole); err != nil {
					t.Fatal(err)
				}
				response, err := http.ReadResponse(bufio.NewReader(conn), nil)
				if err != nil || response.StatusCode != 200 || time.Since(began) > 3*time.Second {
					t.Errorf("a login among idle connections: %v, %v after %v", response, err, time.Since(began))
				}
				if _, err := io.WriteString(working, whole[len(whole)-1:]); err != nil {
					t.Fatal(err)
				}
				if response, err = http.ReadResponse(bufio.NewReader(working), nil); err != nil || response.StatusCode != 200 {
					t.Errorf("the login that was under way: %v, %v", response, err)
				}
			})
		})
	}
}

func TestASlowCallerLosesTheConnection(t *testing.T) {
	t.Parallel()
	const late = "HTTP/1.1 408 Request Timeout"
	whole := func(bearer string) string { return loginRequest(bearer, goodLogin) }
	chunked := func(bearer, chunk string) string {
		head, _, _ := strings.Cut(loginRequest(bearer, ""), "Content-Length")
		return fmt.Sprintf("%sTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n", head, len(chunk), chunk)
	}
	tests := []struct {
		name        string
		send        func(bearer string) string
		from, until time.Duration
		status      string
	}{
		{"that sends nothing", func(string) string { return "" }, 10 * time.Second, 11 * time.Second, ""},
		{"that never ends its header", func(b string) string { return whole(b)[:40] }, 10 * time.Second, 11 * time.Second,
			"HTTP/1.1 400 Bad Request"},
		{"that never ends its body", func(b string) string { return whole(b)[:len(whole(b))-1] }, 10 * time.Second,
			12 * time.Second, late},
		{"that never ends its chunked body", func(b string) string { return chunked(b, goodLogin[:20]) }, 10 * time.Second,
			12 * time.Second, late},
		{"that sends no second request", func(string) string { return healthRequest },
			2 * time.Minute, 2*time.Minute + time.Second, "HTTP/1.1 200 OK"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, plain, server.Config{}, func(p *pipes, bearer string) {
				conn := p.dial()
				defer func() { _ = conn.Close() }()
				began := time.Now()
				go func() { _, _ = io.WriteString(conn, test.send(bearer)) }()
				answer, err := io.ReadAll(conn)
				if took := time.Since(began); took < test.from || took > test.until || err != nil {
					t.Errorf("the connection was closed after %v (%v), want %v to %v; it returned:\n%s", took, err, test.from,
						test.until, answer)
				}
				if strings.Contains(string(answer), "sessionToken") {
					t.Errorf("half a request logged in:\n%s", answer)
				}
				if status := strings.SplitN(string(answer), "\r\n", 2)[0]; test.status != status {
					t.Errorf("it got %q, want %q", status, test.status)
				}
			})
		})
	}
}

func TestACallerThatNeverReadsLosesTheConnection(t *testing.T) {
	t.Parallel()
	inBubble(t, plain, server.Config{}, func(p *pipes, _ string) {
		conn := p.dial()
		defer func() { _ = conn.Close() }()
		began := time.Now()
		_, err := io.WriteString(conn, healthRequest)
		for err == nil { // the response is never read, so at some point no more is accepted
			_, err = io.WriteString(conn, healthRequest)
		}
		if took := time.Since(began); took < time.Minute || took > 62*time.Second {
			t.Errorf("the connection was closed after %v (%v), want a minute", took, err)
		}
	})
}

// A slow caller occupies a connection, and nothing that others need.
func TestSlowCallersHoldNoHashSlot(t *testing.T) {
	t.Parallel()
	inBubble(t, plain, server.Config{}, func(p *pipes, bearer string) {
		for range 500 {
			conn := p.dial()
			defer func() { _ = conn.Close() }()
			whole := loginRequest(bearer, goodLogin)
			if _, err := io.WriteString(conn, whole[:len(whole)-1]); err != nil {
				t.Fatal(err)
			}
		}
		began := time.Now()
		conn := p.dial()
		defer func() { _ = conn.Close() }()
		if _, err := io.WriteString(conn, loginRequest(bearer, goodLogin)); err != nil {
			t.Fatal(err)
		}
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || response.StatusCode != 200 || time.Since(began) > time.Second {
			t.Errorf("a login among slow callers: %v, %v after %v", response, err, time.Since(began))
		}
	})
}

// held is a store whose CreateSession waits.
type held struct {
	authority.SessionStore
	release chan struct{}
}

func (h held) CreateSession(ctx context.Context, session authority.Session) error {
	select {
	case <-h.release:
		return h.SessionStore.CreateSession(ctx, session)
	case <-ctx.Done():
		return errors.Join(errors.New("the caller left"), ctx.Err())
	}
}

// The bound on the time in which a request must arrive must not end an operation that waits
// for a slot.
func TestAnOperationMayTakeLongerThanARequest(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	holding := func(db *sqlite.DB) authority.Stores {
		stores := db.Stores()
		release = make(chan struct{}) // of this bubble
		stores.Sessions = held{stores.Sessions, release}
		return stores
	}
	inBubble(t, holding, server.Config{}, func(p *pipes, bearer string) {
		conn := p.dial()
		defer func() { _ = conn.Close() }()
		time.AfterFunc(25*time.Second, func() { close(release) })
		if _, err := io.WriteString(conn, loginRequest(bearer, goodLogin)); err != nil {
			t.Fatal(err)
		}
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || response.StatusCode != 200 {
			t.Errorf("a login that took 25 seconds: %v, %v", response, err)
		}
	})
}
