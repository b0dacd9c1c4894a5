package server_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/latchkey/latchkey/api"
	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/server"
	"github.com/latchkey/latchkey/internal/store/sqlite"
	"github.com/latchkey/latchkey/internal/wire"
)

func TestARestartKeepsEverything(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "latchkey.db")
	s := start(t, setup{path: path})
	live, ended := s.session(user, password), s.session(user, password)
	expect(t, "a logout", s.do(sound, "POST", wire.PathLogOut, "", ended...), "ok")
	s.addUser("ford", password)
	for range 5 {
		expect(t, "a failure", s.login(live[1], "ford", "a wrong one"), wrong)
	}
	for range 3 {
		expect(t, "a failure", s.login(live[1], user, "a wrong one"), wrong)
	}
	s.must(s.stop())

	s = start(t, setup{path: path, keepState: true})
	expect(t, "the live session, under the same access token", s.verify(live), "ok")
	expect(t, "the ended session", s.verify(ended), expired)
	expect(t, "a login of the locked user", s.login(live[1], "ford", password), locked)
	for range 2 {
		expect(t, "the fourth and fifth failure", s.login(live[1], user, "a wrong one"), wrong)
	}
	expect(t, "a login after five failures around the restart", s.login(live[1], user, password), locked)
	if got := s.token().field("access_token"); "Bearer "+got != live[1] {
		t.Error("after the restart the hour's access token is another one")
	}
}

// pending is a store whose CreateSession reports that it was called, and waits.
type pending struct {
	authority.SessionStore
	called, release chan struct{}
}

func (p pending) CreateSession(ctx context.Context, session authority.Session) error {
	close(p.called)
	<-p.release
	return p.SessionStore.CreateSession(ctx, session)
}

func TestShutdownDrainsRequestsInProgress(t *testing.T) {
	t.Parallel()
	hold := pending{called: make(chan struct{}), release: make(chan struct{})}
	s := start(t, setup{stores: func(db *sqlite.DB) authority.Stores {
		stores := db.Stores()
		hold.SessionStore = stores.Sessions
		stores.Sessions = hold
		return stores
	}})
	ready := func() int {
		recorder := httptest.NewRecorder()
		s.server.Handler().ServeHTTP(recorder, httptest.NewRequest("GET", wire.PathReady, nil))
		return recorder.Code
	}
	bearer := s.bearer()
	if got := ready(); got != 200 {
		t.Errorf("before the shutdown readyz returned %d", got)
	}
	login := make(chan reply)
	go func() { login <- s.login(bearer, user, password) }()
	<-hold.called
	stopped := make(chan error)
	go func() { stopped <- s.stop() }()
	for { // the listener closes after readiness was taken back
		conn, err := net.Dial("tcp", s.address)
		if err != nil {
			break
		}
		s.must(conn.Close())
		runtime.Gosched()
	}
	if got := ready(); got != 503 {
		t.Errorf("while shutting down readyz returned %d, want 503", got)
	}
	select {
	case err := <-stopped:
		t.Fatalf("the service stopped (%v) while a login was under way", err)
	default:
	}
	close(hold.release)
	expect(t, "the login that was under way", <-login, "ok")
	if err := <-stopped; err != nil {
		t.Errorf("the service stopped with %v", err)
	}
}

func TestShutdownCutsOffSlowRequests(t *testing.T) {
	t.Parallel()
	hold := pending{called: make(chan struct{}), release: make(chan struct{})}
	s := start(t, setup{server: server.Config{DrainTimeout: time.Millisecond},
		stores: func(db *sqlite.DB) authority.Stores {
			stores := db.Stores()
			hold.SessionStore = stores.Sessions
			stores.Sessions = hold
			return stores
		}})
	conn, err := net.Dial("tcp", s.address)
	s.must(err)
	defer func() { _ = conn.Close() }()
	_, err = io.WriteString(conn, loginRequest(s.bearer(), goodLogin))
	s.must(err)
	<-hold.called
	stopped := make(chan error)
	go func() { stopped <- s.stop() }()
	if answer, err := io.ReadAll(conn); len(answer) > 0 {
		t.Errorf("a request that was cut off got a response: %q, %v", answer, err)
	}
	close(hold.release)
	s.must(<-stopped)
	if !strings.Contains(s.log.String(), "cut off") {
		t.Error("the log does not say that requests were cut off")
	}
}

func TestRunReportsAListenerThatFails(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = listener.Close() // so that it fails
	s := start(t, setup{})
	if err := server.New(server.Config{Authority: s.authority}).Run(context.Background(), listener, nil); err == nil {
		t.Error("Run with a closed listener returned nil")
	}
}

func TestTheAdminAPIIsNotServedOverTCP(t *testing.T) {
	t.Parallel()
	s := start(t, setup{})
	listen := func() net.Listener {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		s.must(err)
		return listener
	}
	if err := server.New(server.Config{Authority: s.authority}).Run(context.Background(), listen(), listen()); err == nil {
		t.Error("Run served the admin API over TCP")
	}
}

// sweeping reports each sweep.
type sweeping struct {
	authority.SessionLog
	swept chan struct{}
}

func (l sweeping) SweepSessions(ctx context.Context, now time.Time, idle time.Duration,
	limit int) ([]authority.Session, error) {
	select {
	case l.swept <- struct{}{}:
	case <-ctx.Done():
	}
	return l.SessionLog.SweepSessions(ctx, now, idle, limit)
}

func TestExpiredSessionsAreSweptEveryFewSeconds(t *testing.T) {
	t.Parallel()
	var swept chan struct{}
	inBubble(t, func(db *sqlite.DB) authority.Stores {
		stores := db.Stores()
		swept = make(chan struct{})
		stores.SessionLog = sweeping{stores.SessionLog, swept}
		return stores
	}, server.Config{}, func(*pipes, string) {
		began := time.Now()
		for range 3 {
			<-swept
		}
		if took := time.Since(began); took != 15*time.Second {
			t.Errorf("three sweeps took %v, want 15s", took)
		}
	})
}

// unswept cannot be swept while it is down.
type unswept struct {
	authority.SessionLog
	*away
}

// These are of the log, and away has them as well.
func (l unswept) Sessions(ctx context.Context, query authority.SessionQuery) ([]authority.Session, error) {
	return l.SessionLog.Sessions(ctx, query)
}

func (l unswept) PurgeSessions(ctx context.Context, before time.Time, limit int) (int, error) {
	return l.SessionLog.PurgeSessions(ctx, before, limit)
}

func (l unswept) SweepSessions(ctx context.Context, now time.Time, idle time.Duration, limit int) ([]authority.Session,
	error) {
	if err := l.err(); err != nil {
		return nil, err
	}
	return l.SessionLog.SweepSessions(ctx, now, idle, limit)
}

// get returns the body of a page.
func (p *pipes) get(t *testing.T, path string) string {
	t.Helper()
	conn := p.dial()
	defer conn.Close()
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", path); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s returned %d, %v", path, response.StatusCode, err)
	}
	return string(body)
}

func TestReadinessReportsFailingTasks(t *testing.T) {
	t.Parallel()
	stores, unwritable := &away{}, &away{}
	inBubble(t, func(db *sqlite.DB) authority.Stores {
		of := db.Stores()
		of.SessionLog = unswept{of.SessionLog, stores}
		return of
	}, server.Config{WriteFailure: unwritable.err}, func(p *pipes, _ string) {
		want := func(lines int, words string, write, sweep string) {
			t.Helper()
			body := p.get(t, wire.PathReady)
			if !strings.HasPrefix(body, "ready\n") || strings.Count(body, "\n") != lines || !strings.Contains(body, words) ||
				strings.Contains(body, "example") {
				t.Errorf("readyz returned %q", body)
			}
			metrics := p.get(t, wire.PathMetrics)
			for _, line := range []string{`latchkey_store_failing{task="write"} ` + write,
				`latchkey_store_failing{task="sweep"} ` + sweep} {
				if !strings.Contains(metrics, line) {
					t.Errorf("the metrics lack %s", line)
				}
			}
		}
		want(1, "", "0", "0")
		unwritable.down.Store(true)
		want(2, "cannot be written", "1", "0")
		stores.down.Store(true)
		<-time.After(6 * time.Second) // of the bubble: a sweep has been
		want(3, "sweeping fails", "1", "1")
		unwritable.down.Store(false)
		want(2, "sweeping fails", "0", "1")
		stores.down.Store(false)
		<-time.After(6 * time.Second) // of the bubble: a sweep has been
		want(1, "", "0", "0")
	})
}

func TestProbesAndPages(t *testing.T) {
	t.Parallel()
	stores := &away{}
	s := start(t, setup{alone: true, server: server.Config{Version: "1.2.3",
		Ready: func(context.Context) error { return stores.err() }}})
	for path, want := range map[string]string{wire.PathHealth: "ok\n", wire.PathReady: "ready\n",
		wire.PathOpenAPI: string(api.OpenAPI)} {
		if r := s.do(sound, "GET", path, ""); r.status != 200 || r.body != want {
			t.Errorf("%s returned %d %q", path, r.status, r.body)
		}
	}
	stores.down.Store(true)
	if r := s.do(sound, "GET", wire.PathReady, ""); r.status != 503 || !strings.Contains(r.body, "database") ||
		strings.Contains(r.body, "example") {
		t.Errorf("with the store away readyz returned %d %q", r.status, r.body)
	}
	if r := s.do(sound, "GET", wire.PathHealth, ""); r.status != 200 {
		t.Errorf("with the store away healthz returned %d", r.status)
	}
	tokens := s.session(user, password)
	expect(t, "a check", s.verify(tokens), "ok")
	expect(t, "a failure", s.login(tokens[1], user, "a wrong one"), wrong)
	body := s.do(sound, "GET", wire.PathMetrics, "").body
	for _, want := range []string{
		`latchkey_requests_total{code="ok",operation="login"} 1`, `latchkey_requests_total{code="ok",operation="verify"} 1`,
		`latchkey_requests_total{code="REQUEST_FAILED.Login.InvalidCredentials",operation="login"} 1`,
		`latchkey_request_duration_seconds_count{operation="login"} 2`, `latchkey_build_info{version="1.2.3"} 1`,
		"latchkey_connections ", "latchkey_passwords_hashing 0", "latchkey_passwords_waiting 0",
		"latchkey_audit_failures_total 0", "go_goroutines ",
	} {
		if !strings.Contains(body, "\n"+want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
}

func TestTheLogHasOneLineForEachOperation(t *testing.T) {
	t.Parallel()
	s := start(t, setup{})
	tokens := s.session(user, password)
	for range 3 {
		s.verify(tokens)
		s.do(sound, "GET", wire.PathHealth, "")
		s.do(sound, "GET", "/nowhere?secret=in-a-query", "")
	}
	expect(t, "a failure", s.login(tokens[1], user, "a wrong one"), wrong)
	log := s.log.String()
	if got := strings.Count(log, "msg=request "); got != 3 { // token, login, login
		t.Errorf("the log has %d lines of requests, want 3:\n%s", got, log)
	}
	for _, want := range []string{"operation=login status=400 code=" + wrong, "client=" + apiKey, "address=127.0.0.1",
		"request=", "ms="} {
		if !strings.Contains(log, want) {
			t.Errorf("the log lacks %q:\n%s", want, log)
		}
	}
	if strings.Contains(log, "in-a-query") {
		t.Error("the log holds a query string")
	}
}

func TestTheAdminSocketIsItsOwnersAlone(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "admin.sock")
	listener, err := server.ListenUnix(path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("the socket is %v, %v; want mode 0600", info.Mode(), err)
	}
	_, err = server.ListenUnix(path)
	var hinted interface{ Hint() string }
	if err == nil || !strings.Contains(err.Error(), "another server") || !errors.As(err, &hinted) ||
		!strings.Contains(hinted.Hint(), "another path") {
		t.Errorf("a second server on the socket: %v", err)
	}
	// A server that died leaves the socket behind.
	if unix, ok := listener.(*net.UnixListener); ok {
		unix.SetUnlinkOnClose(false)
	}
	_ = listener.Close()
	again, err := server.ListenUnix(path)
	if err != nil {
		t.Fatalf("on a dead server's socket: %v", err)
	}
	_ = again.Close()

	file := filepath.Join(t.TempDir(), "a-file")
	if err := os.WriteFile(file, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := server.ListenUnix(file); err == nil {
		t.Error("a file was taken for a dead server's socket")
	}
	if content, err := os.ReadFile(file); err != nil || string(content) != "mine" {
		t.Errorf("the file holds %q now, %v", content, err)
	}
	_, err = server.ListenUnix(filepath.Join(t.TempDir(), strings.Repeat("x", 200)))
	if !errors.As(err, &hinted) || !strings.Contains(hinted.Hint(), "shorter") {
		t.Errorf("a path that is too long: %v", err)
	}
}
