package gateway_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/gateway"
	"github.com/latchkey/latchkey/internal/pipenet"
	"github.com/latchkey/latchkey/internal/secret"
	"github.com/latchkey/latchkey/internal/server"
	"github.com/latchkey/latchkey/internal/store/sqlite"
	"github.com/latchkey/latchkey/internal/testsupport"
	"github.com/latchkey/latchkey/internal/wire"
	"github.com/latchkey/latchkey/keeper"
)

// world is a complete gateway in a bubble of synctest: users with HTTP/1.1 or HTTP/2 over
// TLS, the service with its default bounds, a keeper, and an upstream.
type world struct {
	*testing.T
	users     map[string]http.Header // the headers of two users' requests
	client    *http.Transport
	local     *pipenet.Network
	upstream  *pipenet.Network
	accounts  *accounts
	authority *authority.Authority
	log       *testsupport.Log
	stop      func() // writes the audit trail and ends the service
}

// accounts is the upstream's login.
type accounts struct {
	base    string
	logins  atomic.Int64
	session atomic.Int64 // the number of the live session
	fail    atomic.Pointer[error]
	pause   atomic.Int64 // before a login returns
}

func (a *accounts) BaseURL() string { return cmp.Or(a.base, "http://upstream.test") }

func (a *accounts) LogIn(context.Context, string, latchkey.Secret) (latchkey.Secret, error) {
	pipenet.Pass(time.Duration(a.pause.Load()))
	if err := a.fail.Load(); err != nil {
		return "", *err
	}
	n := a.logins.Add(1)
	a.session.Store(n)
	return latchkey.Secret("session-" + strconv.FormatInt(n, 10)), nil
}

func (a *accounts) LogOut(context.Context, latchkey.Secret) error { return nil }

func (a *accounts) AccessToken(context.Context) (latchkey.AccessToken, error) {
	return latchkey.AccessToken{Token: "bearer", ExpiresAt: time.Now().Add(24 * time.Hour)}, nil
}

func (a *accounts) InvalidateAccessToken(latchkey.Secret) {}

// expire ends the session with the upstream.
func (a *accounts) expire() { a.session.Add(1000) }

// handler refuses requests of other sessions than the live one without reading their bodies.
func (a *accounts) handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		live := "session-" + strconv.FormatInt(a.session.Load(), 10)
		if r.Method != http.MethodConnect && r.Header.Get(wire.HeaderSessionToken) != live {
			w.Header().Set("Content-Type", wire.MediaTypeJSON)
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `{"errorCode":"Any.REQUEST_FAILED.SessionToken.Expired","errorMessage":"over"}`)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// setting holds the differences between worlds.
type setting struct {
	http2     bool   // of the users
	base      string // URL of the upstream
	handler   http.HandlerFunc
	transport func(*http.Transport)
	gateway   func(*gateway.Gateway)
}

// bothProtocols runs a test in a new world for each protocol of the users.
func bothProtocols(t *testing.T, set setting, test func(*world)) {
	t.Helper()
	for name, http2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2": true} {
		t.Run(name, func(t *testing.T) {
			set.http2 = http2
			inWorld(t, set, test)
		})
	}
}

func inWorld(t *testing.T, set setting, test func(*world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{T: t, accounts: &accounts{base: set.base}, log: &testsupport.Log{}, local: pipenet.New(),
			upstream: pipenet.New()}
		w.Cleanup(func() { pipenet.Pass(time.Minute) }) // closing a TLS connection takes up to five seconds
		w.build(set)
		test(w)
	})
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) build(set setting) {
	w.Helper()
	log := slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	up := &http.Server{Handler: w.accounts.handler(set.handler),
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	up.Protocols = new(http.Protocols)
	up.Protocols.SetHTTP1(true)
	up.Protocols.SetUnencryptedHTTP2(true)
	go func() { _ = up.Serve(w.upstream) }()
	w.Cleanup(func() { _ = up.Close() })
	k, err := keeper.New(keeper.Config{
		Upstream: w.accounts, Credential: keeper.Static("u", "p"), State: keeper.NewMemoryState(), Log: log,
	})
	w.must(err)
	w.Cleanup(func() { w.must(k.Close(context.Background())) })
	transport := gateway.NewTransport(func(t *http.Transport) {
		t.DialContext, t.Proxy = w.upstream.Dial, nil
		if set.transport != nil {
			set.transport(t)
		}
	})
	w.Cleanup(transport.CloseIdleConnections)
	g, err := gateway.New(gateway.Config{Keeper: k, URL: w.accounts.BaseURL(), Transport: transport, Log: log})
	w.must(err)
	if set.gateway != nil {
		set.gateway(g)
	}
	w.serve(g, log, set.http2)
}

func (w *world) serve(g *gateway.Gateway, log *slog.Logger, http2 bool) {
	w.Helper()
	ctx := context.Background()
	db, err := sqlite.Open(ctx, sqlite.Options{Log: log})
	w.must(err)
	w.authority, err = authority.New(authority.Config{
		Stores: db.Stores(), Key: bytes.Repeat([]byte("k"), 32), Log: log, Now: time.Now,
		Policy: authority.Policy{IdleTimeout: 24 * time.Hour, AccessTokenLifetime: 24 * time.Hour},
		Hash:   authority.HashParams{MemoryKiB: 64, Passes: 1, Lanes: 1},
	})
	w.must(err)
	w.must(w.authority.AddKnownClient(ctx, "tests", authority.Credentials{Key: "local-key", Secret: "local-secret"},
		authority.Origin{}))
	certificate, _, err := server.SelfSigned("gateway.test")
	w.must(err)
	s := server.New(server.Config{
		Authority: w.authority, Log: log, Forward: g, Notice: g.Notice, DrainTimeout: time.Second,
		TLS: &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{certificate}},
	})
	running, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- s.Run(running, w.local, nil) }()
	protocols := new(http.Protocols)
	protocols.SetHTTP2(http2)
	protocols.SetHTTP1(!http2)
	w.client = &http.Transport{
		DialContext: w.local.Dial, Protocols: protocols, DisableCompression: true,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}
	stopped := false
	w.stop = func() {
		if !stopped {
			stopped = true
			stop()
			w.must(<-done)
		}
	}
	w.Cleanup(func() {
		w.client.CloseIdleConnections()
		w.stop()
		w.must(db.Close(ctx))
	})
	w.users = map[string]http.Header{"one": {}, "two": {}}
	local, err := latchkey.NewClient(latchkey.Config{
		BaseURL: "https://gateway.test", APIKey: "local-key", APISecret: "local-secret",
		HTTPClient: &http.Client{Transport: w.client},
	})
	w.must(err)
	for user, header := range w.users {
		_, err := w.authority.AddUser(ctx, user, secret.Text(localPassword), authority.Origin{})
		w.must(err)
		token, err := local.LogIn(ctx, user, localPassword)
		w.must(err)
		bearer, err := local.AccessToken(ctx)
		w.must(err)
		header.Set("Authorization", "Bearer "+bearer.Token.Reveal())
		header.Set(wire.HeaderSessionToken, token.Reveal())
	}
}

// send sends a request of a user, and reads the response.
func (w *world) send(ctx context.Context, user, method, target string, body io.Reader,
	change ...func(*http.Request)) (reply, error) {
	req, err := http.NewRequestWithContext(ctx, method, "https://gateway.test"+target, body)
	if err != nil {
		return reply{}, err
	}
	req.Header = w.users[user].Clone()
	for _, f := range change {
		f(req)
	}
	resp, err := w.client.RoundTrip(req)
	if err != nil {
		return reply{}, err
	}
	text, err := io.ReadAll(resp.Body)
	return reply{resp, string(text)}, errors.Join(err, resp.Body.Close())
}

// good sends a request that must succeed, and returns the body of the response.
func (w *world) good(method, target string, body io.Reader) string {
	w.Helper()
	p, err := w.send(w.Context(), "one", method, target, body)
	if err != nil || p.StatusCode != http.StatusOK {
		w.Errorf("%s %s: %v, %+v", method, target, err, p)
		return ""
	}
	return p.text
}

// recorded ends the service and returns the statuses of requests for a path in the audit
// trail.
func (w *world) recorded(path string) []int {
	w.Helper()
	w.stop()
	all, err := w.authority.AuditEvents(context.Background(), authority.AuditQuery{Limit: 1000})
	w.must(err)
	var found []int
	for _, e := range all {
		if e.Path == path {
			found = append(found, e.Status)
		}
	}
	return found
}

// trickle is a body that arrives in pieces, with a pause before each.
type trickle struct {
	pieces int
	piece  string
	pause  time.Duration
	rest   string
}

func (s *trickle) Read(p []byte) (int, error) {
	if s.rest == "" {
		if s.pieces == 0 {
			return 0, io.EOF
		}
		pipenet.Pass(s.pause)
		s.pieces--
		s.rest = s.piece
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}
