package server_test

import (
	"bufio"
	"context"
	"database/sql"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/admin"
	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/server"
)

// upstream is a Forward that returns 418 with the request ID of an upstream, and refuses
// paths below /api/refused without forwarding them.
type upstream struct{ requestID string }

func (u upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, "/api/refused") {
		w.(interface{ Refused() }).Refused() //nolint:errcheck,forcetypeassert // the test is to fail
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	if u.requestID != "" {
		w.Header()["X-Request-Id"] = []string{u.requestID}
	}
	w.WriteHeader(http.StatusTeapot)
	_, _ = io.Copy(w, r.Body)
}

// line sends an unchanged request line with both tokens, and returns the status.
func (s *service) line(tokens []string, line string) int {
	s.t.Helper()
	conn, err := net.Dial("tcp", s.replica())
	s.must(err)
	defer func() { _ = conn.Close() }()
	_, err = fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: here\r\n%s: %s\r\n%s: %s\r\nConnection: close\r\n\r\n",
		line, tokens[0], tokens[1], tokens[2], tokens[3])
	s.must(err)
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	s.must(err)
	s.must(response.Body.Close())
	return response.StatusCode
}

// trail returns the events of these kinds from the admin API, once there are n of them:
// forwarded requests are recorded after their responses.
func (s *service) trail(n int, kinds ...authority.EventKind) (events []admin.Event) {
	s.t.Helper()
	for deadline := time.After(20 * time.Second); ; {
		var page admin.Events
		s.must(s.get(admin.PathAudit, &page, "limit", "1000"))
		events = slices.DeleteFunc(page.Events, func(e admin.Event) bool {
			return !slices.Contains(kinds, authority.EventKind(e.Kind))
		})
		if len(events) >= n {
			return events
		}
		select {
		case <-deadline:
			s.t.Fatalf("there are %d events of %v, want %d: %+v", len(events), kinds, n, events)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// On every engine, no request line and no response of the upstream can forge another field,
// or prevent that the request or another one is recorded.
func TestForwardedRequestsAreRecordedUnaltered(t *testing.T) {
	t.Parallel()
	long, letters := strings.Repeat("a", 300), strings.Repeat("%C3%A9", 60)
	s := start(t, setup{server: server.Config{Forward: upstream{"up 200 \xff" + strings.Repeat("é", 60)}}})
	tokens := s.session(user, password)
	lines := []struct{ line, method, path string }{
		{"GET /api/x%20200%201ms)", "GET", "/api/x%20200%201ms)"},
		{"GET /api/nul%00", "GET", "/api/nul%00"},
		{"GET /api/no-letter%ff%fe", "GET", "/api/no-letter%ff%fe"},
		{"GET /api/half%c3", "GET", "/api/half%c3"},
		{"GET /api/raw\xff\xc3\xa9", "GET", "/api/raw%FF%C3%A9"},
		{"GET /api/line%0d%0a2026-01-01%20login", "GET", "/api/line%0d%0a2026-01-01%20login"},
		{"GET /api/x?secret=%00%ff", "GET", "/api/x"},
		{"GET http://other/api/x", "GET", "/api/x"},
		{"GET /api/" + long, "GET", "/api/" + long[:248] + "…"},
		{"GET /api/" + letters, "GET", "/api/" + letters[:41*6] + "…"},
		{"GET /api/a" + letters, "GET", "/api/a" + letters[:41*6] + "…"},
		{"GET /api/abcd" + letters, "GET", "/api/abcd" + letters[:40*6] + "…"},
		{"GET /api/" + strings.Repeat("%2a", 100), "GET", "/api/" + strings.Repeat("%2a", 82) + "…"},
		{strings.Repeat("M", 5000) + " /api/x", strings.Repeat("M", 29) + "…", "/api/x"},
		{"A%00B|C /api/x", "A%00B|C", "/api/x"},
	}
	for _, l := range lines {
		if got := s.line(tokens, l.line); got != http.StatusTeapot {
			t.Fatalf("%q returned %d", l.line, got)
		}
	}
	events := s.trail(len(lines), authority.EventForwarded)
	if len(events) != len(lines) {
		t.Fatalf("%d events of %d requests", len(events), len(lines))
	}
	slices.SortStableFunc(events, func(a, b admin.Event) int { return int(a.Seq - b.Seq) })
	for _, l := range lines { // several replicas write in any order
		at := slices.IndexFunc(events, func(e admin.Event) bool { return e.Method == l.method && e.Path == l.path })
		if at < 0 {
			t.Errorf("%.60q is recorded as none of %+v", l.line, events)
			continue
		}
		e := events[at]
		events = slices.Delete(events, at, at+1)
		if e.User != user || e.Status != http.StatusTeapot || e.DurationMS < 0 || e.Detail != "" || len(e.Path) > 256 ||
			len(e.Method) > 32 ||
			!strings.HasPrefix(e.UpstreamRequestID, "up%20200%20%FF%C3%A9") ||
			!strings.HasSuffix(e.UpstreamRequestID, "%C3%A9…") || len(e.UpstreamRequestID) > 64 {
			t.Errorf("%.60q is recorded as %+v", l.line, e)
		}
	}
	if proof := s.verifyTrail(nil); proof.Broken != 0 {
		t.Errorf("the trail is broken: %+v", proof)
	}
}

// A failure to record one user's requests loses no other event.
func TestAPathThatNoDatabaseAcceptsLosesNoOtherEvent(t *testing.T) {
	t.Parallel()
	s := start(t, setup{server: server.Config{Forward: upstream{}}})
	tokens := s.session(user, password)
	s.addUser("trillian", password)
	other := s.session("trillian", password)
	for i := range 15 {
		s.line(other, fmt.Sprintf("GET /api/%d", i))
		if i%5 == 0 {
			s.line(tokens, "GET /api/%00")
			s.line(tokens, "GET /api/%ff")
			expect(t, "a failure", s.login(tokens[1], user, "a wrong one"), wrong)
		}
	}
	s.trail(21, authority.EventForwarded)
	s.trail(3, authority.EventLogInFailed)
}

// A user cannot fill the disk with refused requests.
func TestRefusedRequestsAreRecordedBounded(t *testing.T) {
	t.Parallel()
	s := start(t, setup{alone: true, server: server.Config{Forward: upstream{}}})
	s.must(s.post(admin.PathUserAllow, admin.Allow{Name: user, Allow: []string{"GET /api/x", "GET /api/refused/**"}}, nil))
	tokens := s.session(user, password)
	for i := range 50 {
		if got := s.line(tokens, fmt.Sprintf("DELETE /api/x/%d", i)); got != http.StatusForbidden {
			t.Fatalf("a request that is not allowed: %d", got)
		}
		if got := s.line(tokens, fmt.Sprintf("GET /api/refused/%d", i)); got != http.StatusBadRequest {
			t.Fatalf("a request that is refused: %d", got)
		}
	}
	events := s.trail(2, authority.EventForwardRefused)
	if len(events) != 2 {
		t.Fatalf("within the minute: %+v, want the first of each", events)
	}
	if e := events[0]; e.User != user || e.Session == "" || e.Client != apiKey || e.RequestID == "" ||
		e.Address != "127.0.0.1" ||
		e.Method != "DELETE" || e.Path != "/api/x/0" || e.Status != http.StatusForbidden || e.Count != 1 {
		t.Errorf("the first that was not allowed is %+v", e)
	}
	s.clock.advance(time.Minute)
	events = s.trail(4, authority.EventForwardRefused)
	if len(events) != 4 {
		t.Fatalf("after the minute: %+v, want one more of each", events)
	}
	for _, e := range events[2:] {
		if e.Count != 49 || !strings.HasSuffix(e.Path, "/49") {
			t.Errorf("the others are %+v, want 49", e)
		}
	}
	s.line(tokens, "DELETE /api/x/again")
	if events = s.trail(5, authority.EventForwardRefused); events[4].Count != 1 || events[4].Path != "/api/x/again" {
		t.Errorf("in the next minute: %+v", events[4:])
	}
	if proof := s.verifyTrail(nil); proof.Broken != 0 {
		t.Errorf("the trail is broken: %+v", proof)
	}
}

// Refusals that wait to be folded are written at the end.
func TestRefusedLoginsAreFolded(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "latchkey.db")
	s := start(t, setup{path: path})
	s.addUser("trillian", password)
	s.must(s.post(admin.PathUserLock, admin.Name{Name: user}, nil))
	bearer := s.bearer()
	const locked = "REQUEST_FAILED.Login.AccountLocked"
	for range 5 {
		expect(t, "a guess", s.login(bearer, "nobody", "a wrong one"), wrong)
	}
	for range 40 {
		expect(t, "a login", s.login(bearer, user, password), locked)
		expect(t, "a login of an unknown user", s.login(bearer, "nobody", password), locked)
	}
	s.session("trillian", password)
	if events := s.trail(2, authority.EventLogInRefused); len(events) != 2 || events[0].User != user ||
		events[0].Count != 1 || events[1].User != "" {
		t.Errorf("within the minute: %+v, want the first of each", events)
	}
	s.must(s.post(admin.PathUserUnlock, admin.Name{Name: user}, nil))
	events := s.trail(3, authority.EventLogInRefused, authority.EventUnlocked)
	if len(events) != 4 || events[2].Count != 39 || events[2].User != user ||
		events[3].Kind != string(authority.EventUnlocked) {
		t.Errorf("when the user is unlocked: %+v, want the other refusals before", events)
	}
	s.must(s.stop())
	s = start(t, setup{path: path, keepState: true})
	events = s.trail(4, authority.EventLogInRefused)
	if last := events[len(events)-1]; len(events) != 4 || last.Count != 39 || last.User != "" ||
		!strings.Contains(last.Detail, "unknown user name") {
		t.Errorf("after a restart: %+v", events)
	}
}

// An event that the database refuses is logged completely; the others are stored.
func TestAnEventThatCannotBeStoredLosesNoOther(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "latchkey.db")
	s := start(t, setup{path: path, server: server.Config{Forward: upstream{"up-1"}}})
	tokens := s.session(user, password)
	s.must(s.stop())
	db, err := sql.Open("sqlite", path)
	s.must(err)
	_, err = db.ExecContext(context.Background(),
		`CREATE TRIGGER refuse BEFORE INSERT ON audit WHEN NEW.path LIKE '%poison%' BEGIN SELECT RAISE(ABORT, 'poison'); END`)
	s.must(err)
	s.must(db.Close())
	s = start(t, setup{path: path, keepState: true, server: server.Config{Forward: upstream{"up-1"}}})
	for i := range 15 {
		s.line(tokens, fmt.Sprintf("GET /api/%d", i))
		if i == 7 {
			s.line(tokens, "PATCH /api/poison%201")
		}
	}
	s.trail(15, authority.EventForwarded)
	s.must(s.stop()) // which writes waiting events
	if got := s.authority.AuditFailures(); got != 1 {
		t.Errorf("%d events are counted as not stored, want 1", got)
	}
	for _, part := range []string{"kind=forwarded", "user=" + user, "session=", "client=" + apiKey, "address=127.0.0.1",
		"request=",
		"method=PATCH", "path=/api/poison%201", "status=418", "ms=", "upstream=up-1", "at=2026-", "error="} {
		if !strings.Contains(s.log.String(), part) {
			t.Errorf("the log lacks %q", part)
		}
	}
	s = start(t, setup{path: path, keepState: true})
	if proof := s.verifyTrail(nil); proof.Broken != 0 {
		t.Errorf("the trail is broken: %+v", proof)
	}
}

// A NUL is an error of the caller, not of the store.
func TestAdminInputThatNoStoreCanHoldIsRefused(t *testing.T) {
	t.Parallel()
	s := start(t, setup{})
	for _, text := range []string{"\x00", "zoe\x00", "\xff", "z\xc3"} {
		var page map[string]any
		refused(t, "audit", s.get(admin.PathAudit, &page, "user", text), admin.CodeInvalid)
		refused(t, "sessions", s.get(admin.PathSessions, &page, "user", text), admin.CodeInvalid)
		refused(t, "sessions behind one", s.get(admin.PathSessions, &page, "before", text), admin.CodeInvalid)
		refused(t, "users", s.get(admin.PathUsers, &page, "after", text), admin.CodeInvalid)
		refused(t, "a user", s.get(admin.PathUser, &page, "name", text), admin.CodeInvalid)
		refused(t, "a parameter", s.get(admin.PathUsers, &page, text, "1"), admin.CodeInvalid)
	}
	for path, body := range map[string]any{
		admin.PathUserLock: admin.Name{Name: "zoe\x00"}, admin.PathUserUnlock: admin.Name{Name: "\x00"},
		admin.PathUserRemove: admin.Name{Name: "\x00"}, admin.PathUserDisable: admin.Name{Name: "\x00"},
		admin.PathUserEnable: admin.Name{Name: "\x00"}, admin.PathUserEnd: admin.Name{Name: "\x00"},
		admin.PathUserAdd: admin.Password{Name: "z\x00"}, admin.PathUserPassword: admin.Password{Name: "z\x00"},
		admin.PathUserAllow: admin.Allow{Name: user,
			Allow: []string{"GET /api/\x00"}}, admin.PathClientAdd: admin.Label{Label: "l\x00"},
		admin.PathClientRotate: admin.Key{Key: "\x00"}, admin.PathClientRevoke: admin.Key{Key: "\x00"},
		admin.PathSessionEnd: admin.ID{ID: "\x00"},
	} {
		refused(t, path, s.post(path, body, nil), admin.CodeInvalid)
	}
}
