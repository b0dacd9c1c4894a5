package gateway_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/gateway"
	"github.com/latchkey/latchkey/internal/secret"
	"github.com/latchkey/latchkey/internal/server"
	"github.com/latchkey/latchkey/internal/store/sqlite"
	"github.com/latchkey/latchkey/internal/testsupport"
	"github.com/latchkey/latchkey/internal/wire"
	"github.com/latchkey/latchkey/keeper"
	"github.com/latchkey/latchkey/latchtest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("net/http.(*persistConn).writeLoop"),
		goleak.IgnoreTopFunction("internal/poll.runtime_pollWait"))
}

// upstream is the real session service, with the test's handler for the rest of the API.
// The handler receives only requests with valid tokens.
type upstream struct {
	*latchtest.Server

	URL     string
	handler http.HandlerFunc
	close   func()
	mu      sync.Mutex
	raw     []string // method and target of the requests to the handler
}

func newUpstream(t *testing.T, handler http.HandlerFunc) *upstream {
	t.Helper()
	u := &upstream{Server: latchtest.NewServer(t), handler: handler}
	target, err := url.Parse(u.Server.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{
		Rewrite:  func(p *httputil.ProxyRequest) { p.SetURL(target) },
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
	}
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasPrefix(r.URL.Path, "/api/m2m/v1/session/") || strings.HasPrefix(r.URL.Path, "/api/ts/"):
			proxy.ServeHTTP(w, r)
		case !u.good(w, r):
		default:
			u.mu.Lock()
			u.raw = append(u.raw, r.Method+" "+r.RequestURI)
			u.mu.Unlock()
			u.handler(w, r)
		}
	}))
	t.Cleanup(front.Close)
	u.URL, u.close = front.URL, front.Close
	return u
}

// good reports whether the tokens of a request are valid. Otherwise it sends the service's response.
func (u *upstream) good(w http.ResponseWriter, r *http.Request) bool {
	probe, err := http.NewRequestWithContext(r.Context(), http.MethodGet, u.Server.URL+"/api/probe", http.NoBody)
	if err != nil {
		return false
	}
	for _, name := range []string{"Authorization", "Vz-M2m-Token"} {
		probe.Header[name] = r.Header[name]
	}
	resp, err := http.DefaultClient.Do(probe)
	if err != nil {
		http.Error(w, "probe", http.StatusInternalServerError)
		return false
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode == http.StatusOK {
		return true
	}
	w.WriteHeader(resp.StatusCode)
	_, _ = io.Copy(w, resp.Body)
	return false
}

func (u *upstream) seen() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return append([]string(nil), u.raw...)
}

// rig is a gateway with a local user in front of an upstream.
type rig struct {
	*testing.T
	upstream *upstream
	keeper   *keeper.Keeper
	url      string
	address  string
	client   *latchkey.Client // of the local service
	token    latchkey.Secret  // of the local session
	bearer   latchkey.Secret
	http     *http.Client
	log      *testsupport.Log
}

const (
	localUser     = "dispatch"
	localPassword = "local-password"
)

func newRig(t *testing.T, handler http.HandlerFunc, change func(*gateway.Config)) *rig {
	t.Helper()
	r := &rig{T: t, upstream: newUpstream(t, handler), log: &testsupport.Log{}}
	log := slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	up, err := latchkey.NewClient(latchkey.Config{
		BaseURL: r.upstream.URL, APIKey: latchtest.APIKey, APISecret: latchtest.APISecret, Hosts: furtherHosts(change),
	})
	r.must(err)
	r.keeper, err = keeper.New(keeper.Config{
		Upstream: up, Credential: keeper.Static(latchtest.User, latchtest.Password), State: keeper.NewMemoryState(), Log: log,
	})
	r.must(err)
	t.Cleanup(func() { r.must(r.keeper.Close(context.Background())) })
	transport := gateway.NewTransport(nil)
	t.Cleanup(transport.CloseIdleConnections)
	config := gateway.Config{Keeper: r.keeper, URL: r.upstream.URL, Transport: transport, Log: log}
	if change != nil {
		change(&config)
	}
	g, err := gateway.New(config)
	r.must(err)
	r.serve(g, log)
	return r
}

// furtherHosts returns the hosts that change adds, for the upstream's client.
func furtherHosts(change func(*gateway.Config)) map[string]string {
	var config gateway.Config
	if change != nil {
		change(&config)
	}
	hosts := map[string]string{}
	for _, host := range config.Hosts {
		hosts[strings.TrimPrefix(host.URL, "http://")] = map[string]string{"imp": "SessionToken"}[host.Name]
	}
	return hosts
}

// serve runs the local service.
func (r *rig) serve(g *gateway.Gateway, log *slog.Logger) {
	r.Helper()
	ctx := context.Background()
	db, err := sqlite.Open(ctx, sqlite.Options{Log: log})
	r.must(err)
	rules, err := authority.New(authority.Config{
		Stores: db.Stores(), Key: bytes.Repeat([]byte("k"), 32), Log: log, Now: time.Now,
		Hash: authority.HashParams{MemoryKiB: 64, Passes: 1, Lanes: 1},
	})
	r.must(err)
	r.must(rules.AddKnownClient(ctx, "tests", authority.Credentials{Key: "local-key", Secret: "local-secret"},
		authority.Origin{}))
	_, err = rules.AddUser(ctx, localUser, secret.Text(localPassword), authority.Origin{})
	r.must(err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	r.must(err)
	certificate, _, err := server.SelfSigned("127.0.0.1", "localhost")
	r.must(err)
	s := server.New(server.Config{
		Authority: rules, Log: log, Forward: g, HostNamed: g.HostNamed,
		TLS: &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{certificate}},
	})
	running, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- s.Run(running, listener, nil) }()
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableCompression: true}
	r.http = &http.Client{Transport: transport}
	r.address, r.url = listener.Addr().String(), "https://"+listener.Addr().String()
	r.Cleanup(func() {
		transport.CloseIdleConnections()
		stop()
		r.must(<-done)
		r.must(db.Close(ctx))
	})
	r.client, err = latchkey.NewClient(latchkey.Config{BaseURL: r.url, APIKey: "local-key", APISecret: "local-secret",
		HTTPClient: r.http})
	r.must(err)
	r.token, err = r.client.LogIn(ctx, localUser, localPassword)
	r.must(err)
	bearer, err := r.client.AccessToken(ctx)
	r.must(err)
	r.bearer = bearer.Token
	r.Cleanup(r.client.CloseIdleConnections)
}

func (r *rig) must(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

// request makes a request of the local user.
func (r *rig) request(method, target string, body io.Reader) *http.Request {
	r.Helper()
	req, err := http.NewRequestWithContext(r.Context(), method, r.url+target, body)
	r.must(err)
	req.Header.Set("Authorization", "Bearer "+r.bearer.Reveal())
	req.Header.Set(wire.HeaderSessionToken, r.token.Reveal())
	return req
}

// reply is a response with its body.
type reply struct {
	*http.Response
	text string
}

func (r *rig) do(req *http.Request) reply {
	r.Helper()
	resp, err := r.http.Do(req)
	r.must(err)
	text, err := io.ReadAll(resp.Body)
	r.must(err)
	_ = resp.Body.Close()
	return reply{resp, string(text)}
}

func (r *rig) get(target string) reply {
	r.Helper()
	return r.do(r.request(http.MethodGet, target, http.NoBody))
}
