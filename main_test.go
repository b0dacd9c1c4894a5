package latchkey_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The secrets of the tests. None of them may ever be printed.
const (
	apiSecret   = "demo-secret-5551"
	password    = "IMgr8-and-more"
	newPassword = "Wh0a1545a84d"
	sessionID   = "bcce3ea6-fe4f-4952-bacf-eadd80718e83"
	bearer      = "tok-2f9a0c77"
)

// recorded is a request as the server saw it.
type recorded struct {
	Method, Path, Body, Host string
	Proto                    int
	Header                   http.Header
}

// api is a server that issues access tokens, passes every other request to answer, and
// records all requests.
type api struct {
	*httptest.Server
	answer, token http.HandlerFunc

	mu       sync.Mutex
	requests []recorded
}

func newHandler() *api {
	return &api{
		token: func(w http.ResponseWriter, _ *http.Request) { reply(w, 200, tokenBody(bearer, 3600)) },
		answer: func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case wire.PathResetPassword:
				reply(w, 200, `{"newPassword":"`+newPassword+`","unknown":1}`)
			default:
				reply(w, 200, `{"sessionToken":"`+sessionID+`","unknown":1}`)
			}
		},
	}
}

func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	a.mu.Lock()
	a.requests = append(a.requests, recorded{
		r.Method, r.URL.RequestURI(), string(body), r.Host, r.ProtoMajor, r.Header.Clone(),
	})
	a.mu.Unlock()
	if strings.HasSuffix(r.URL.Path, wire.PathToken) {
		a.token(w, r)
		return
	}
	a.answer(w, r)
}

// to returns the requests to path.
func (a *api) to(path string) []recorded {
	a.mu.Lock()
	defer a.mu.Unlock()
	var found []recorded
	for _, r := range a.requests {
		if r.Path == path {
			found = append(found, r)
		}
	}
	return found
}

// newAPI starts an api on loopback.
func newAPI(t testing.TB) *api {
	a := newHandler()
	a.Server = httptest.NewServer(a)
	t.Cleanup(a.Close)
	return a
}

// client returns a client of the api; change may alter its configuration.
func (a *api) client(t testing.TB, change ...func(*latchkey.Config)) *latchkey.Client {
	return newClient(t, a.URL, change...)
}

func newClient(t testing.TB, baseURL string, change ...func(*latchkey.Config)) *latchkey.Client {
	t.Helper()
	config := latchkey.Config{BaseURL: baseURL, APIKey: "demo-key", APISecret: apiSecret}
	for _, c := range change {
		c(&config)
	}
	client, err := latchkey.NewClient(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.CloseIdleConnections)
	return client
}

func reply(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
}

func tokenBody(token string, expiresIn int) string {
	return fmt.Sprintf(`{"access_token":%q,"token_type":"Bearer","expires_in":%d,"scope":"default"}`, token, expiresIn)
}

// pipeListener is a network inside a synctest bubble.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

// newPipeAPI starts an api and returns a change of the configuration with the only HTTP
// client that reaches it. All waiting uses the time of the synctest bubble.
func newPipeAPI(t testing.TB) (a *api, config func(*latchkey.Config)) {
	l := &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
	a = newHandler()
	a.Server = &httptest.Server{Listener: l, Config: &http.Server{Handler: a}}
	a.Start()
	t.Cleanup(a.Close)
	transport := &http.Transport{DialContext: l.dial}
	return a, func(c *latchkey.Config) { c.HTTPClient = &http.Client{Transport: transport} }
}

func (l *pipeListener) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case l.conns <- there:
		return here, nil
	case <-l.closed:
		return nil, errors.New("the listener is closed")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80} }

// The operations, as the tests call them.

func logIn(ctx context.Context, c *latchkey.Client) error {
	_, err := c.SessionManagement.StartConnectivityManagementSession(ctx,
		&latchkey.LogInRequest{Username: "zbeeblebrox", Password: password})
	return err
}

func logInBodyless(ctx context.Context, c *latchkey.Client) error {
	_, err := c.SessionManagement.StartConnectivityManagementSession(ctx, nil)
	return err
}

func logOut(ctx context.Context, c *latchkey.Client) error {
	_, err := c.SessionManagement.EndConnectivityManagementSession(ctx, sessionID)
	return err
}

func reset(ctx context.Context, c *latchkey.Client) error {
	_, err := c.SessionManagement.ResetConnectivityManagementPassword(ctx, sessionID,
		&latchkey.SessionResetPasswordRequest{OldPassword: password})
	return err
}

// checkResponse makes a response and returns what CheckResponse returns for it.
func checkResponse(status int, header http.Header, body []byte, sent ...latchkey.Secret) error {
	return latchkey.CheckResponse(&http.Response{
		StatusCode: status, Header: header, Body: io.NopCloser(bytes.NewReader(body)),
	}, sent...)
}

// hint returns the advice of an error; "" if it has none.
func hint(err error) string {
	var hinted interface{ Hint() string }
	if errors.As(err, &hinted) {
		return hinted.Hint()
	}
	return ""
}

// mustNotShow fails if any way of printing v shows one of the secrets.
func mustNotShow(t testing.TB, v any, secrets ...string) {
	t.Helper()
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		shown := fmt.Sprintf(verb, v)
		for _, secret := range append(secrets, apiSecret, password, newPassword, sessionID, bearer) {
			if strings.Contains(shown, secret) || strings.Contains(shown, fmt.Sprintf("%x", secret)) {
				t.Errorf("%s of %T shows a secret: %s", verb, v, shown)
			}
		}
	}
}
