package keeper_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"time"

	"github.com/latchkey/latchkey/internal/wire"
)

// model is a faithful upstream without a network. It keeps time by the bubble
// that the test runs in, and counts what a keeper may not do.
type model struct {
	idle         time.Duration
	oneSession   bool // a second login ends the first session
	timedStrikes bool // a login that timed out counts as a failure
	latency      time.Duration
	lag          time.Duration // for so long a new password is refused
	lockAtReset  bool          // another program locks the account at the reset

	mu       sync.Mutex
	password string
	strikes  int
	locked   bool
	sessions map[string]time.Time // last use
	bearer   string
	bearerAt time.Time
	numbers  int
	faults   []fault

	logIns      int // evaluated
	tokenCalls  int
	inFlight    int // logins
	maxInFlight int
	maxStrikes  int
	resets      []time.Time
	sent        map[string]int // by request id
	executed    map[string]int
	lastTrouble time.Time // a fault, or something that ended a session or a bearer
}

// fault befalls the requests to a part of the upstream for a while.
type fault struct {
	kind  string
	part  string // "login", "token", "api", or "" for all
	until time.Time
}

var (
	errUnreachable = errors.New("model: no route to host")
	errCut         = errors.New("model: connection reset by peer")
)

const modelURL = "https://upstream.example"

func newModel() *model {
	return &model{
		idle: 20 * time.Minute, latency: 20 * time.Millisecond, password: "right",
		sessions: map[string]time.Time{}, sent: map[string]int{}, executed: map[string]int{},
	}
}

// RoundTrip implements http.RoundTripper.
func (m *model) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx := req.Context()
	trace := httptrace.ContextClientTrace(ctx)
	if trace != nil && trace.GetConn != nil {
		trace.GetConn(req.URL.Host)
	}
	part := partOf(req.URL.Path)
	kind := m.faultFor(part)
	body := ""
	if req.Body != nil {
		b, err := io.ReadAll(req.Body)
		_ = req.Body.Close()
		if err != nil {
			return nil, err
		}
		body = string(b)
	}
	if kind == "unreachable" {
		return nil, errUnreachable
	}
	if trace != nil && trace.GotConn != nil {
		trace.GotConn(httptrace.GotConnInfo{})
	}
	if part == "login" {
		m.begin(1)
		defer m.begin(-1)
	}
	if err := wait(ctx, m.latency); err != nil {
		return nil, err
	}
	switch kind {
	case "hang":
		if part == "login" {
			m.strikeIf(m.timedStrikes)
		}
		<-ctx.Done()
		return nil, ctx.Err()
	case "cut":
		return nil, errCut
	case "5xx":
		return respond(req, 503, `{"fault":{"code":"900503","message":"away"}}`), nil
	case "html":
		return respond(req, 502, "<html>Bad Gateway</html>"), nil
	case "throttled":
		resp := respond(req, 429, `{"fault":{"code":"900800","message":"slow down"}}`)
		resp.Header.Set("Retry-After", "7")
		return resp, nil
	case "forbidden":
		return respond(req, 403, `<fault><code>900908</code><message>Resource forbidden</message></fault>`), nil
	}
	resp := m.serve(req, body, part)
	if kind == "lost" { // it was executed, and the response is lost
		return nil, errCut
	}
	return resp, nil
}

func partOf(path string) string {
	switch path {
	case wire.PathLogIn:
		return "login"
	case wire.PathToken:
		return "token"
	}
	return "api"
}

func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func respond(req *http.Request, status int, body string) *http.Response {
	return &http.Response{
		StatusCode: status, ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{},
		Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)), Request: req,
	}
}

func (m *model) faultFor(part string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, f := range m.faults {
		if time.Now().Before(f.until) && (f.part == "" || f.part == part) {
			m.lastTrouble = time.Now()
			return f.kind
		}
	}
	return ""
}

func (m *model) begin(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.inFlight += n
	m.maxInFlight = max(m.maxInFlight, m.inFlight)
}

func (m *model) strikeIf(strike bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if strike {
		m.strike()
	}
}

func (m *model) strike() {
	m.strikes++
	m.maxStrikes = max(m.maxStrikes, m.strikes)
	m.locked = m.locked || m.strikes >= 5
}

// serve is what the upstream does with a request that reached it.
func (m *model) serve(req *http.Request, body, part string) *http.Response {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	if part == "token" {
		m.tokenCalls++
		if m.bearer == "" || now.Sub(m.bearerAt) >= time.Hour {
			m.numbers++
			m.bearer, m.bearerAt = fmt.Sprintf("bearer-%d", m.numbers), now
		}
		left := int(time.Hour/time.Second) - int(now.Sub(m.bearerAt)/time.Second) - 1
		return respond(req, 200, fmt.Sprintf(`{"access_token":%q,"token_type":"Bearer","expires_in":%d}`, m.bearer, left))
	}
	id := req.Header.Get("Request")
	m.sent[id]++
	if req.Header.Get("Authorization") != "Bearer "+m.bearer || now.Sub(m.bearerAt) >= time.Hour {
		return respond(req, 401, `{"fault":{"code":"900901","message":"Invalid Credentials"}}`)
	}
	if part == "login" {
		return m.logIn(req, body, now)
	}
	token := req.Header.Get("VZ-M2M-Token")
	used, ok := m.sessions[token]
	if !ok || now.Sub(used) >= m.idle {
		delete(m.sessions, token)
		if strings.HasPrefix(req.URL.Path, "/api/m2m/v1/accounts") {
			return respond(req, 400, `{"error":"unauthorized","error_description":"no: UWS V1 REST accounts: [400]","cause":""}`)
		}
		return respond(req, 400, `{"errorCode":"Any.REQUEST_FAILED.SessionToken.Expired","errorMessage":"gone"}`)
	}
	if req.URL.Path == wire.PathLogOut {
		delete(m.sessions, token)
		return respond(req, 200, `{"sessionToken":"`+token+`"}`)
	}
	m.sessions[token] = now
	if req.URL.Path == wire.PathResetPassword {
		return m.reset(req, body)
	}
	if poison, ok := strings.CutPrefix(req.URL.Path, "/api/poison/"); ok {
		switch poison {
		case "session":
			return respond(req, 400, `{"errorCode":"INVALID_PARAMETER","errorMessage":"UWS verification failure"}`)
		case "bearer":
			return respond(req, 401, `{"responseCode":"INVALID_ACCESS","message":"no"}`)
		case "either":
			return respond(req, 401, "")
		case "failure":
			return respond(req, 500, `{"error":"internal_server_error","error_description":"UWS V1 REST accounts: [401]"}`)
		}
		return respond(req, 400, "") // a HEAD
	}
	m.executed[id]++
	return respond(req, 200, "echo:"+body)
}

func (m *model) logIn(req *http.Request, body string, now time.Time) *http.Response {
	m.logIns++
	switch {
	case m.locked:
		return respond(req, 400, `{"errorCode":"UnifiedWebService.REQUEST_FAILED.Login.AccountLocked"}`)
	case !strings.Contains(body, `"password":"`+m.password+`"`), m.lags(now):
		m.strike()
		return respond(req, 400, `{"errorCode":"UnifiedWebService.REQUEST_FAILED.Login.InvalidCredentials"}`)
	}
	m.strikes = 0
	if m.oneSession {
		clear(m.sessions)
	}
	m.numbers++
	token := fmt.Sprintf("00000000-0000-4000-8000-%012d", m.numbers)
	m.sessions[token] = now
	return respond(req, 200, `{"sessionToken":"`+token+`"}`)
}

// lags reports whether the part that logs in does not know the last password yet.
func (m *model) lags(now time.Time) bool {
	return len(m.resets) > 0 && now.Sub(m.resets[len(m.resets)-1]) < m.lag
}

func (m *model) reset(req *http.Request, body string) *http.Response {
	if !strings.Contains(body, `"oldPassword":"`+m.password+`"`) {
		m.strike()
		return respond(req, 400, `{"errorCode":"UnifiedWebService.REQUEST_FAILED.Password.Mismatch"}`)
	}
	m.resets = append(m.resets, time.Now())
	m.password = fmt.Sprintf("made%d", len(m.resets))
	m.locked = m.locked || m.lockAtReset
	return respond(req, 200, `{"newPassword":"`+m.password+`"}`)
}

// The acts of others.

func (m *model) endSessions() {
	m.change(func() { clear(m.sessions) })
}

func (m *model) revokeBearer() {
	m.change(func() { m.bearer = "" })
}

func (m *model) setFault(f fault) {
	m.change(func() { m.faults = append(m.faults, f) })
}

func (m *model) change(do func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lastTrouble = time.Now()
	do()
}
