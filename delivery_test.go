package latchkey_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/internal/wire"
)

// after returns a client that has an access token, so that its next request is the
// operation.
func after(t *testing.T, a *api, change ...func(*latchkey.Config)) *latchkey.Client {
	t.Helper()
	client := a.client(t, change...)
	if _, err := client.AccessToken(t.Context()); err != nil {
		t.Fatal(err)
	}
	return client
}

func TestFailuresBeforeAConnectionProveThatNothingWasSent(t *testing.T) {
	dialError := &net.DNSError{Err: "no such host", Name: "api.invalid", IsNotFound: true}
	for name, wrap := range map[string]func(*http.Transport) http.RoundTripper{
		"*http.Transport":      func(t *http.Transport) http.RoundTripper { return t },
		"foreign transport":    func(t *http.Transport) http.RoundTripper { return foreign{t} },
		"foreign that rewraps": func(t *http.Transport) http.RoundTripper { return keyed{t} },
	} {
		a := newAPI(t)
		dialer, broken := &net.Dialer{}, false
		transport := &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				if broken {
					return nil, dialError
				}
				return dialer.DialContext(ctx, network, address)
			},
		}
		client := after(t, a, func(c *latchkey.Config) { c.HTTPClient = &http.Client{Transport: wrap(transport)} })
		broken = true
		for _, op := range []func(context.Context, *latchkey.Client) error{logIn, logOut, reset} {
			err := op(t.Context(), client)
			var lost *latchkey.TransportError
			if !errors.As(err, &lost) || lost.MaybeSent || !errors.Is(err, latchkey.ErrNotSent) || !errors.Is(err, dialError) {
				t.Errorf("%s: error %v, want a TransportError that proves nothing was sent", name, err)
			}
		}
	}
}

func TestUntrustedServerIsSentNothing(t *testing.T) {
	a := newHandler()
	a.Server = httptest.NewUnstartedServer(a)
	a.Config.ErrorLog = discardLog()
	a.StartTLS()
	t.Cleanup(a.Close)
	if err := logIn(t.Context(), a.client(t)); !errors.Is(err, latchkey.ErrNotSent) {
		t.Errorf("error %v, want ErrNotSent", err)
	}
	if len(a.requests) != 0 {
		t.Error("a server without a trusted certificate was sent a request")
	}
}

func TestTransportWithoutTraceMayHaveSent(t *testing.T) {
	a := newAPI(t)
	boom := errors.New("refused before sending, but who knows; header was Bearer " + bearer)
	client := after(t, a, func(c *latchkey.Config) {
		c.HTTPClient = &http.Client{Transport: opaque{http.DefaultTransport, boom}}
	})
	err := logIn(t.Context(), client)
	var lost *latchkey.TransportError
	if !errors.As(err, &lost) || !lost.MaybeSent || !errors.Is(err, boom) {
		t.Fatalf("error %v, want a TransportError with MaybeSent", err)
	}
	mustNotShow(t, err)
	mustNotShow(t, lost.Err)
}

// opaque fetches tokens and fails everything else without telling httptrace.
type opaque struct {
	next http.RoundTripper
	err  error
}

func (o opaque) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Path == wire.PathToken {
		return o.next.RoundTrip(req)
	}
	return nil, o.err
}

func TestCanceledContextSendsNothing(t *testing.T) {
	why := errors.New("shutting down")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	for _, transport := range []http.RoundTripper{
		&http.Transport{DisableKeepAlives: true}, foreign{&http.Transport{DisableKeepAlives: true}},
	} {
		a := newAPI(t)
		client := a.client(t, func(c *latchkey.Config) { c.HTTPClient = &http.Client{Transport: transport} })
		for range 2 { // without an access token, and with one
			for _, op := range []func(context.Context, *latchkey.Client) error{logIn, logOut, reset} {
				if err := op(ctx, client); !errors.Is(err, latchkey.ErrNotSent) || !errors.Is(err, why) {
					t.Errorf("%T: error %v, want ErrNotSent and the cause", transport, err)
				}
			}
			if _, err := client.AccessToken(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if len(a.requests) != 1 {
			t.Errorf("%T: %d requests, want only the one for the token", transport, len(a.requests))
		}
	}
}

func TestTimeoutBoundsEveryOperation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, config := newPipeAPI(t)
		a.answer = func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
		client := after(t, a, config)
		for _, op := range []func(context.Context, *latchkey.Client) error{logIn, logOut, reset} {
			start := time.Now()
			err := op(t.Context(), client)
			var lost *latchkey.TransportError
			if !errors.As(err, &lost) || !lost.Timeout() || !lost.MaybeSent || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("error %v, want a timeout after sending", err)
			}
			if waited := time.Since(start); waited != 30*time.Second {
				t.Errorf("gave up after %v, want 30s", waited)
			}
		}
	})
}

func TestLogInEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, config := newPipeAPI(t)
		a.answer = func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
		client := after(t, a, config)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		err := logIn(ctx, client)
		if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, latchkey.ErrNotSent) ||
			time.Since(start) != time.Second {
			t.Errorf("error %v after %v, want the caller's deadline", err, time.Since(start))
		}
	})
}

func TestMalformedHTTPIsNeverQuoted(t *testing.T) {
	for name, answer := range map[string]string{
		"no status line":  `{"newPassword":"` + newPassword + `"}` + "\r\n\r\n",
		"broken header":   "HTTP/1.1 200 OK\r\n" + newPassword + "\r\n\r\n",
		"broken status":   "HTTP/1.1 " + newPassword + "\r\n\r\n",
		"broken encoding": "HTTP/1.1 200 OK\r\nTransfer-Encoding: " + newPassword + "\r\n\r\n",
		"broken chunks":   "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + newPassword + "\r\n",
	} {
		a := newAPI(t)
		a.answer = func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = io.WriteString(conn, answer)
			_ = conn.Close()
		}
		err := reset(t.Context(), a.client(t))
		if err == nil || errors.Is(err, latchkey.ErrNotSent) {
			t.Errorf("%s: error %v, want one that does not rule out that the password changed", name, err)
			continue
		}
		for cause := err; cause != nil; cause = errors.Unwrap(cause) {
			mustNotShow(t, cause)
		}
		if !strings.Contains(hint(err), "password") {
			t.Errorf("%s: Hint does not mention the password: %v", name, err)
		}
	}
}

func TestOperationWithoutAccessTokenIsNotSent(t *testing.T) {
	a := newAPI(t)
	a.token = func(w http.ResponseWriter, _ *http.Request) {
		reply(w, 401, `{"error":"invalid_client","error_description":"no"}`)
	}
	client := a.client(t)
	for _, op := range []func(context.Context, *latchkey.Client) error{logIn, logOut, reset} {
		err := op(t.Context(), client)
		var noToken *latchkey.AccessTokenError
		if !errors.As(err, &noToken) || !errors.Is(err, latchkey.ErrNotSent) || !errors.Is(err, latchkey.ErrInvalidClient) {
			t.Errorf("error %v, want an AccessTokenError that says why", err)
		}
	}
	if _, err := client.AccessToken(t.Context()); errors.Is(err, latchkey.ErrNotSent) {
		t.Errorf("asking for the token itself was sent, but the error denies it: %v", err)
	}
}
