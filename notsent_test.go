package latchkey_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey/latchkey"
)

// listen calls serve for each connection until the test ends, and returns the address.
func listen(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			serve(conn)
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() {
		_ = listener.Close()
		<-done
	})
	return listener.Addr().String()
}

// proxyAnswering is an HTTP proxy that says status to every CONNECT.
func proxyAnswering(t *testing.T, status string) *url.URL {
	return &url.URL{Scheme: "http", User: url.UserPassword("u", "pr0xy-pa55"), Host: listen(t, func(conn net.Conn) {
		if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil && status != "" {
			_, _ = fmt.Fprintf(conn, "HTTP/1.1 %s\r\nContent-Length: 0\r\n\r\n", status)
		}
	})}
}

// withToken makes a client that needs no request for its access token.
func withToken(t *testing.T, base string, transport *http.Transport) *latchkey.Client {
	t.Cleanup(transport.CloseIdleConnections)
	return newClient(t, base, func(c *latchkey.Config) {
		c.APIKey, c.APISecret = "", ""
		c.AccessToken = func(context.Context) (latchkey.AccessToken, error) {
			return latchkey.AccessToken{Token: bearer, ExpiresAt: time.Now().Add(time.Hour)}, nil
		}
		c.HTTPClient = &http.Client{Transport: transport}
	})
}

func TestFailuresBeforeTheServiceMatchErrNotSent(t *testing.T) {
	a := newHandler()
	secure := httptest.NewUnstartedServer(a)
	secure.Config.ErrorLog = discardLog()
	secure.StartTLS()
	t.Cleanup(secure.Close)
	trusted := x509.NewCertPool()
	trusted.AddCert(secure.Certificate())
	variant := func(change func(*tls.Config)) string {
		server := httptest.NewUnstartedServer(a)
		server.Config.ErrorLog = discardLog()
		server.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
		change(server.TLS)
		server.StartTLS()
		t.Cleanup(server.Close)
		return server.URL
	}
	silent := listen(t, func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) })
	gone := listen(t, func(net.Conn) {})
	socks := listen(t, func(conn net.Conn) {
		greeting := make([]byte, 3)
		_, _ = io.ReadFull(conn, greeting)
		_, _ = conn.Write([]byte{5, 0})
		_, _ = conn.Read(make([]byte, 300))
		_, _ = conn.Write([]byte{5, 2, 0, 1, 0, 0, 0, 0, 0, 0}) // not allowed by its rules
	})
	closed := listen(t, func(net.Conn) {})
	refusing, err := net.Listen("tcp", "127.0.0.1:0") // a port without a listener
	if err != nil {
		t.Fatal(err)
	}
	_ = refusing.Close()
	for name, test := range map[string]struct {
		base   string
		change func(*http.Transport)
	}{
		"a proxy's 407": {secure.URL, func(t2 *http.Transport) {
			t2.Proxy = http.ProxyURL(proxyAnswering(t, "407 Proxy Authentication Required"))
		}},
		"a proxy's 403": {secure.URL, func(t2 *http.Transport) {
			t2.Proxy = http.ProxyURL(proxyAnswering(t,
				"403 Forbidden"))
		}},
		"a proxy's odd words": {secure.URL, func(t2 *http.Transport) {
			t2.Proxy = http.ProxyURL(proxyAnswering(t,
				"502 \x1b[31mno\u202e"))
		}},
		"a proxy that cuts": {secure.URL, func(t2 *http.Transport) { t2.Proxy = http.ProxyURL(proxyAnswering(t, "")) }},
		"a proxy that is away": {secure.URL, func(t2 *http.Transport) {
			t2.Proxy = http.ProxyURL(&url.URL{Scheme: "http", Host: refusing.Addr().String()})
		}},
		"a SOCKS proxy's no": {secure.URL,
			func(t2 *http.Transport) { t2.Proxy = http.ProxyURL(&url.URL{Scheme: "socks5", Host: socks}) }},
		"a SOCKS proxy that cuts": {secure.URL,
			func(t2 *http.Transport) { t2.Proxy = http.ProxyURL(&url.URL{Scheme: "socks5", Host: closed}) }},
		"an untrusted certificate": {secure.URL,
			func(t2 *http.Transport) { t2.TLSClientConfig.RootCAs = x509.NewCertPool() }},
		"another host's certificate": {secure.URL,
			func(t2 *http.Transport) { t2.TLSClientConfig.ServerName = "other.example" }},
		"an expired certificate": {secure.URL, func(t2 *http.Transport) {
			t2.TLSClientConfig.Time = func() time.Time { return time.Now().AddDate(200, 0, 0) }
		}},
		"a handshake that hangs": {"https://" + silent,
			func(t2 *http.Transport) { t2.TLSHandshakeTimeout = time.Millisecond }},
		"a handshake that is cut": {"https://" + gone, func(*http.Transport) {}},
		"no TLS at all":           {"https://" + strings.TrimPrefix(newAPI(t).URL, "http://"), func(*http.Transport) {}},
		"no common TLS version": {variant(func(c *tls.Config) { c.MinVersion = tls.VersionTLS13 }),
			func(t2 *http.Transport) { t2.TLSClientConfig.MaxVersion = tls.VersionTLS12 }},
		"no common protocol": {variant(func(c *tls.Config) { c.NextProtos = []string{"h3"} }),
			func(t2 *http.Transport) { t2.TLSClientConfig.NextProtos = []string{"http/1.1"} }},
		"a client certificate wanted, TLS 1.2": {variant(func(c *tls.Config) {
			c.ClientAuth, c.MaxVersion = tls.RequireAnyClientCert, tls.VersionTLS12
		}), func(*http.Transport) {}},
		"no such name": {"https://nowhere.invalid", func(t2 *http.Transport) {
			t2.DialContext = func(context.Context, string, string) (net.Conn, error) {
				return nil, &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "no such host", Name: "nowhere.invalid",
					IsNotFound: true}}
			}
		}},
		"no listener": {"https://" + refusing.Addr().String(), func(*http.Transport) {}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, http2 := range []bool{false, true} {
				transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trusted, MinVersion: tls.VersionTLS12},
					ForceAttemptHTTP2: http2}
				test.change(transport)
				client := withToken(t, test.base, transport)
				for _, op := range []func(context.Context, *latchkey.Client) error{logIn, logOut, reset} {
					err := op(t.Context(), client)
					var lost *latchkey.TransportError
					if !errors.As(err, &lost) || lost.MaybeSent || !errors.Is(err, latchkey.ErrNotSent) {
						t.Errorf("HTTP/2 %v: error %v, want ErrNotSent", http2, err)
					}
					if strings.ContainsAny(err.Error(), "\x1b\u202e") || strings.Contains(err.Error(), "pr0xy-pa55") {
						t.Errorf("the error cannot be shown: %q", err)
					}
				}
			}
		})
	}
	if len(a.requests) != 0 {
		t.Errorf("the service received %+v", a.requests)
	}
}

// With TLS 1.3 the refusal of a client without a certificate comes after the client's
// handshake, and races with the request.
func TestRefusedClientCertificateMatchesErrNotSent(t *testing.T) {
	a := newHandler()
	secure := httptest.NewUnstartedServer(a)
	secure.StartTLS()
	t.Cleanup(secure.Close)
	wantsCertificate := listen(t, func(conn net.Conn) {
		if err := tls.Server(conn, &tls.Config{
			Certificates: secure.TLS.Certificates, ClientAuth: tls.RequireAnyClientCert, MinVersion: tls.VersionTLS13,
		}).HandshakeContext(t.Context()); err == nil {
			t.Error("the handshake succeeded without a client certificate")
		}
		_, _ = io.Copy(io.Discard, conn) // a reset connection could swallow the alert
	})
	trusted := x509.NewCertPool()
	trusted.AddCert(secure.Certificate())
	client := withToken(t, "https://"+wantsCertificate, &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trusted,
		MinVersion: tls.VersionTLS12}})
	told := 0
	for range 20 {
		err := logIn(t.Context(), client)
		if isTold := strings.Contains(err.Error(), "certificate required"); isTold {
			told++
			if !errors.Is(err, latchkey.ErrNotSent) {
				t.Errorf("error %v, want ErrNotSent", err)
			}
		} else if errors.Is(err, latchkey.ErrNotSent) {
			t.Errorf("error %v says without a reason that nothing was sent", err)
		}
	}
	if told == 0 {
		t.Error("the alert never arrived: the test shows nothing")
	}
}

func TestCancellationWhileDialingSendsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			<-ctx.Done() // a network that swallows
			return nil, ctx.Err()
		}}
		client := withToken(t, "https://api.example.org", transport)
		for _, op := range []func(context.Context, *latchkey.Client) error{logIn, logOut, reset} {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			err := op(ctx, client)
			cancel()
			if !errors.Is(err, latchkey.ErrNotSent) || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("error %v, want ErrNotSent", err)
			}
		}
	})
}
