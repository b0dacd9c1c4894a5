package latchkey_test

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
	"strings"
	"sync"
	"testing"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/internal/wire"
)

// rawServer implements just enough HTTP/1.1 to see what is on the wire. It responds to
// token requests and logouts on connections that it keeps. It reads any other request
// to its end and closes the connection.
type rawServer struct {
	net.Listener
	wg sync.WaitGroup

	mu     sync.Mutex
	counts map[string]int  // requests by path
	onKept map[string]bool // paths of requests that came over a connection used before
}

func newRawServer(t *testing.T) *rawServer {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &rawServer{Listener: listener, counts: map[string]int{}, onKept: map[string]bool{}}
	s.wg.Go(func() {
		for {
			conn, err := s.Accept()
			if err != nil {
				return
			}
			s.wg.Go(func() { s.serve(conn) })
		}
	})
	return s
}

func (s *rawServer) serve(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	for r, used := bufio.NewReader(conn), false; ; used = true {
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, req.Body)
		s.mu.Lock()
		s.counts[req.URL.Path]++
		s.onKept[req.URL.Path] = s.onKept[req.URL.Path] || used
		s.mu.Unlock()
		body := `{"sessionToken":"` + sessionID + `"}`
		switch req.URL.Path {
		case wire.PathToken:
			body = tokenBody(bearer, 3600)
		case wire.PathLogOut:
		default:
			return
		}
		_, _ = fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	}
}

// stop ends the server, after which its records are complete.
func (s *rawServer) stop(client *latchkey.Client) {
	_ = s.Close()
	client.CloseIdleConnections()
	s.wg.Wait()
}

// foreign is a RoundTripper that nothing is known about.
type foreign struct{ next http.RoundTripper }

func (f foreign) RoundTrip(req *http.Request) (*http.Response, error) { return f.next.RoundTrip(req) }

// keyed adds what makes net/http repeat any request that it can.
type keyed struct{ next http.RoundTripper }

func (k keyed) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	req.Header.Set("Idempotency-Key", "5f0c1f0e-7b8b-4a43-9a52-6ce10f6a5f4c")
	return k.next.RoundTrip(req)
}

func TestLoginAndResetAreSentExactlyOnce(t *testing.T) {
	operations := map[string]struct {
		run  func(context.Context, *latchkey.Client) error
		path string
	}{
		"login":              {logIn, wire.PathLogIn},
		"login without body": {logInBodyless, wire.PathLogIn},
		"reset":              {reset, wire.PathResetPassword},
		"repeatable reset": {func(ctx context.Context, c *latchkey.Client) error {
			_, err := c.SessionManagement.ResetConnectivityManagementPassword(ctx, sessionID,
				&latchkey.SessionResetPasswordRequest{OldPassword: password, IdempotencyKey: "5f0c1f0e"})
			return err
		}, wire.PathResetPassword},
		"login through Do": {func(ctx context.Context, c *latchkey.Client) error {
			return do(ctx, c, http.MethodPost, wire.PathLogIn)
		}, wire.PathLogIn},
		"reset through Do": {func(ctx context.Context, c *latchkey.Client) error {
			return do(ctx, c, http.MethodPut, wire.PathResetPassword)
		}, wire.PathResetPassword},
	}
	transports := map[string]func(*http.Transport) http.RoundTripper{
		"its own transport":           nil,
		"the caller's transport":      func(t *http.Transport) http.RoundTripper { return t },
		"a foreign transport":         func(t *http.Transport) http.RoundTripper { return foreign{t} },
		"one that adds a request key": func(t *http.Transport) http.RoundTripper { return keyed{t} },
	}
	for opName, op := range operations {
		for transportName, wrap := range transports {
			if transportName == "one that adds a request key" && opName == "login without body" {
				// Nothing can be taken from a request that has nothing. Every
				// service refuses it before it looks at any password.
				continue
			}
			for _, kept := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%s/kept=%v", opName, transportName, kept), func(t *testing.T) {
					server := newRawServer(t)
					client := newClient(t, "http://"+server.Addr().String(), func(c *latchkey.Config) {
						if wrap != nil {
							transport := &http.Transport{}
							t.Cleanup(transport.CloseIdleConnections)
							c.HTTPClient = &http.Client{Transport: wrap(transport)}
						}
					})
					if kept { // leave a connection that has been used
						if err := logOut(t.Context(), client); err != nil {
							t.Fatal(err)
						}
					}
					err := op.run(t.Context(), client)
					server.stop(client)
					var lost *latchkey.TransportError
					if !errors.As(err, &lost) || !lost.MaybeSent || errors.Is(err, latchkey.ErrNotSent) {
						t.Errorf("error %v, want a TransportError that says the request may have arrived", err)
					}
					if n := server.counts[op.path]; n != 1 {
						t.Errorf("the server saw %d requests, want exactly one", n)
					}
					if (wrap == nil || transportName == "the caller's transport") && server.onKept[op.path] {
						t.Error("the request went over a connection that was used before")
					}
				})
			}
		}
	}
}

func do(ctx context.Context, c *latchkey.Client, method, path string) error {
	req, err := http.NewRequestWithContext(ctx, method, path, strings.NewReader("{}"))
	if err != nil {
		return err
	}
	req.Header.Set("Idempotency-Key", "5f0c1f0e-7b8b-4a43-9a52-6ce10f6a5f4c")
	resp, err := c.Do(req, sessionID)
	if err == nil {
		err = resp.Body.Close()
	}
	return err
}

// Over a kept connection net/http repeats what it may. Do says of which requests that holds.
func TestDoRepeatsOnlyTheDocumentedRequests(t *testing.T) {
	for _, test := range []struct {
		method, header string
		close          bool
		body           string
		sent           int
	}{
		{method: "GET", sent: 2}, {method: "HEAD", sent: 2}, {method: "OPTIONS", sent: 2},
		{method: "GET", close: true, sent: 1}, {method: "HEAD", close: true, sent: 1},
		{method: "OPTIONS", close: true, sent: 1},
		{method: "POST", body: "{}", sent: 1}, {method: "PUT", body: "{}", sent: 1}, {method: "DELETE", sent: 1},
		{method: "POST", body: "{}", header: "Idempotency-Key", sent: 1},
		{method: "POST", header: "Idempotency-Key", sent: 1},
		{method: "DELETE", header: "X-Idempotency-Key", sent: 1},
		{method: "PATCH", body: "{}", header: "x-idempotency-key", sent: 1},
		{method: "GET", header: "Idempotency-Key", close: true, sent: 1},
	} {
		server := newRawServer(t)
		client := newClient(t, "http://"+server.Addr().String())
		if err := logOut(t.Context(), client); err != nil { // leaves a connection behind
			t.Fatal(err)
		}
		const path = "/api/m2m/v1/x"
		req, err := http.NewRequestWithContext(t.Context(), test.method, path, strings.NewReader(test.body))
		if err != nil {
			t.Fatal(err)
		}
		if test.body == "" {
			req.Body, req.GetBody = nil, nil
		}
		if test.header != "" {
			req.Header.Set(test.header, "1")
		}
		req.Close = test.close
		resp, err := client.Do(req, sessionID)
		if err == nil {
			_ = resp.Body.Close()
		}
		server.stop(client)
		var lost *latchkey.TransportError
		if !errors.As(err, &lost) || !lost.MaybeSent {
			t.Errorf("%+v: error %v, want one that says that it may have been sent", test, err)
		}
		if n := server.counts[path]; n != test.sent {
			t.Errorf("%+v: sent %d times, want %d", test, n, test.sent)
		}
	}
}

// The proof that the rawServer can tell: without our care, net/http sends twice.
func TestNetHTTPRepeatsUnprotectedRequests(t *testing.T) {
	server := newRawServer(t)
	transport := &http.Transport{}
	client := &http.Client{Transport: keyed{transport}}
	for _, path := range []string{wire.PathLogOut, wire.PathLogIn} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+server.Addr().String()+path,
			strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		if resp, err := client.Do(req); err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
		}
	}
	_ = server.Close()
	transport.CloseIdleConnections()
	server.wg.Wait()
	if n := server.counts[wire.PathLogIn]; n < 2 {
		t.Errorf("the server saw %d requests; the trap that the other test guards against is gone", n)
	}
}

// replayer looks for what a transport could repeat a request with.
type replayer struct {
	next http.RoundTripper
	t    *testing.T
}

func (r replayer) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Path != wire.PathToken {
		if _, ok := req.Body.(io.Seeker); ok || req.GetBody != nil {
			r.t.Errorf("%s: the body can be had a second time", req.URL.Path)
		}
		if req.Header.Get("Idempotency-Key") != "" || req.Header.Get("X-Idempotency-Key") != "" {
			r.t.Errorf("%s: the request is declared repeatable", req.URL.Path)
		}
		if !req.Close {
			r.t.Errorf("%s: the connection is to be kept", req.URL.Path)
		}
	}
	return r.next.RoundTrip(req)
}

func TestOtherRoundTripperGetsAnUnrepeatableRequest(t *testing.T) {
	a := newAPI(t)
	client := a.client(t, func(c *latchkey.Config) {
		c.HTTPClient = &http.Client{Transport: replayer{&http.Transport{DisableKeepAlives: true}, t}}
	})
	file, err := os.Open("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, wire.PathResetPassword, file)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Idempotency-Key", "1")
	req.Header.Set("X-Idempotency-Key", "1")
	resp, err := client.Do(req, sessionID)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	for _, op := range []func(context.Context, *latchkey.Client) error{logIn, logInBodyless, reset} {
		if err := op(t.Context(), client); err != nil {
			t.Fatal(err)
		}
	}
}

func TestLoginAndResetUseHTTP1(t *testing.T) {
	a := newHandler()
	a.Server = httptest.NewUnstartedServer(a)
	a.EnableHTTP2 = true
	a.StartTLS()
	t.Cleanup(a.Close)
	client := a.client(t, func(c *latchkey.Config) { c.HTTPClient = a.Client() })
	for _, op := range []func(context.Context, *latchkey.Client) error{logIn, logInBodyless, logOut, reset} {
		if err := op(t.Context(), client); err != nil {
			t.Fatal(err)
		}
	}
	for path, proto := range map[string]int{
		wire.PathToken: 2, wire.PathLogOut: 2, wire.PathLogIn: 1, wire.PathResetPassword: 1,
	} {
		for _, r := range a.to(path) {
			if r.Proto != proto {
				t.Errorf("%s went over HTTP/%d, want HTTP/%d", path, r.Proto, proto)
			}
		}
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	elsewhere := newAPI(t)
	for _, status := range []int{301, 302, 303, 307, 308} {
		a := newAPI(t)
		a.answer = func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL+r.URL.Path, status)
		}
		client := a.client(t, func(c *latchkey.Config) {
			c.HTTPClient = &http.Client{
				Transport:     &http.Transport{DisableKeepAlives: true},
				CheckRedirect: func(*http.Request, []*http.Request) error { return nil },
			}
		})
		for _, op := range []func(context.Context, *latchkey.Client) error{logIn, logOut, reset} {
			var odd *latchkey.ResponseError
			if err := op(t.Context(), client); !errors.As(err, &odd) || odd.StatusCode != status {
				t.Errorf("error %v, want a ResponseError with status %d", err, status)
			}
		}
	}
	if n := len(elsewhere.requests); n != 0 {
		t.Errorf("%d requests with credentials went elsewhere", n)
	}
}
