package gateway_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/pipenet"
	"github.com/latchkey/latchkey/internal/server"
	"github.com/latchkey/latchkey/internal/wire"
)

// is fails the test unless the response is the given error of the gateway.
func (w *world) is(p reply, err error, status int, code, words string) {
	w.Helper()
	var body wire.FaultBody
	if err != nil || json.Unmarshal([]byte(p.text), &body) != nil || p.StatusCode != status || body.Fault.Code != code ||
		!strings.Contains(body.Fault.Description, words) {
		w.Errorf("got %v, %+v, want %d %s %q", err, p, status, code, words)
	}
}

func dialError(err error) func(context.Context, string, string) (net.Conn, error) {
	return func(context.Context, string, string) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: err}
	}
}

// silent dials a server that never sends anything.
func silent(context.Context, string, string) (net.Conn, error) {
	near, far := net.Pipe()
	go func() { _, _ = io.Copy(io.Discard, far) }()
	return near, nil
}

// viaProxy makes the upstream's listener the proxy of requests.
func viaProxy(scheme string) func(*http.Transport) {
	return func(t *http.Transport) { t.Proxy = http.ProxyURL(&url.URL{Scheme: scheme, Host: "proxy.test:1"}) }
}

// The response says that nothing was forwarded, because a failure before there is a
// connection cannot execute a request.
func TestErrorsBeforeAConnectionReportThatNothingWasForwarded(t *testing.T) {
	t.Parallel()
	status := func(status int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }
	}
	for name, set := range map[string]setting{
		"no such host": {transport: func(t *http.Transport) {
			t.DialContext = dialError(&net.DNSError{Err: "no such host", Name: "upstream.test", IsNotFound: true})
		}},
		"refused":      {transport: func(t *http.Transport) { t.DialContext = dialError(errors.New("connection refused")) }},
		"dial timeout": {transport: func(t *http.Transport) { t.DialContext = dialError(context.DeadlineExceeded) }},
		"an error without a type": {transport: func(t *http.Transport) {
			t.DialContext = func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("broken") }
		}},
		"TLS handshake timeout": {base: "https://upstream.test",
			transport: func(t *http.Transport) { t.DialContext = silent }},
		"not TLS":             {base: "https://upstream.test", handler: status(200)},
		"unknown certificate": {base: "https://upstream.test", handler: status(200), transport: overTLS},
		"a proxy login": {base: "https://upstream.test", handler: status(407),
			transport: viaProxy("http")},
		"the proxy forbids it": {base: "https://upstream.test", handler: status(403),
			transport: viaProxy("http")},
		"the proxy is away": {base: "https://upstream.test", handler: status(502),
			transport: viaProxy("http")},
		"the proxy speaks no HTTP": {base: "https://upstream.test", handler: abort, transport: viaProxy("http")},
		"a SOCKS proxy that does not speak it": {base: "https://upstream.test", handler: status(200),
			transport: viaProxy("socks5")},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, set, func(w *world) {
				for _, method := range []string{http.MethodGet, http.MethodPost} {
					p, err := w.send(w.Context(), "one", method, "/api/x", strings.NewReader("{}"))
					w.is(p, err, 502, wire.FaultBadGateway, "was not forwarded")
					if err == nil && p.Header.Get("Retry-After") == "" {
						w.Error("without Retry-After")
					}
				}
			})
		})
	}
}

// overTLS connects the transport to a TLS server with an untrusted certificate.
func overTLS(t *http.Transport) {
	t.DialContext = func(context.Context, string, string) (net.Conn, error) {
		near, far := net.Pipe()
		certificate, _, err := server.SelfSigned("upstream.test")
		go func() {
			secure := tls.Server(far, &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{certificate}})
			_ = secure.Handshake()
			_ = secure.Close()
		}()
		return near, err
	}
}

func abort(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

// The response says that the request may have been executed, also on a reused connection.
func TestErrorsAfterAConnectionReportPossibleExecution(t *testing.T) {
	t.Parallel()
	var cut atomic.Bool
	set := setting{handler: func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if cut.Load() {
			panic(http.ErrAbortHandler)
		}
	}}
	inWorld(t, set, func(w *world) {
		for _, method := range []string{http.MethodPost, http.MethodGet} {
			cut.Store(false)
			w.good(method, "/api/x", strings.NewReader("{}"))
			cut.Store(true)
			p, err := w.send(w.Context(), "one", method, "/api/x", strings.NewReader("{}"))
			w.is(p, err, 502, wire.FaultBadGateway, "may have been executed")
			cut.Store(false)
			w.good(method, "/api/x", strings.NewReader("{}"))
			w.upstream.Forget()
			p, err = w.send(w.Context(), "one", method, "/api/x", strings.NewReader("{}"))
			w.is(p, err, 504, wire.FaultTimeout, "may have been executed")
		}
	})
}

// The upstream refuses the session, and then cannot be reached, or aborts the response.
func TestErrorsOfARepeatedRequestReportWhatWasExecuted(t *testing.T) {
	t.Parallel()
	var away, cut atomic.Bool
	set := setting{
		handler: func(http.ResponseWriter, *http.Request) {
			if cut.Load() {
				panic(http.ErrAbortHandler)
			}
		},
		transport: func(t *http.Transport) {
			t.DisableKeepAlives = true
			plain, dials := t.DialContext, 0
			t.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
				if dials++; away.Load() && dials%2 == 0 {
					return nil, errors.New("refused")
				}
				return plain(ctx, network, address)
			}
		},
	}
	inWorld(t, set, func(w *world) {
		w.good(http.MethodPost, "/api/x", strings.NewReader("{}"))
		w.good(http.MethodPost, "/api/x", strings.NewReader("{}")) // now the next dial is an odd one
		pipenet.Pass(10 * time.Minute)                             // so that the session may be renewed at once
		w.accounts.expire()
		away.Store(true)
		p, err := w.send(w.Context(), "one", http.MethodPost, "/api/x", strings.NewReader("{}"))
		w.is(p, err, 502, wire.FaultBadGateway, "was not executed")
		away.Store(false)
		pipenet.Pass(10 * time.Minute)
		w.accounts.expire()
		cut.Store(true)
		p, err = w.send(w.Context(), "one", http.MethodPost, "/api/x", strings.NewReader("{}"))
		w.is(p, err, 502, wire.FaultBadGateway, "may have been executed")
	})
}

// Dead connections to the upstream are used for at most 30 seconds.
func TestDeadConnectionsAreClosed(t *testing.T) {
	t.Parallel()
	for name, set := range map[string]func(*http.Protocols, bool){
		"HTTP/1.1": (*http.Protocols).SetHTTP1, "HTTP/2": (*http.Protocols).SetUnencryptedHTTP2,
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, setting{
				handler: func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Proto) },
				transport: func(t *http.Transport) {
					t.Protocols = new(http.Protocols)
					set(t.Protocols, true)
				},
			}, func(w *world) {
				var all sync.WaitGroup
				for range 20 {
					all.Go(func() {
						if got := w.good(http.MethodGet, "/api/x", http.NoBody); !strings.HasPrefix(got, name) {
							w.Errorf("the upstream received %s", got)
						}
					})
				}
				all.Wait()
				w.upstream.Forget()
				failed := 0
				for began := time.Now(); time.Since(began) < 30*time.Second; pipenet.Pass(time.Second) {
					ctx, cancel := context.WithTimeout(w.Context(), 5*time.Second)
					if _, err := w.send(ctx, "one", http.MethodGet, "/api/x", http.NoBody); err != nil {
						failed++
					}
					cancel()
				}
				if failed == 0 {
					w.Error("no connection was dead: the test shows nothing")
				}
				pipenet.Pass(time.Second) // a timer of the 30th second may not have fired yet
				for range 100 {
					w.good(http.MethodGet, "/api/x", http.NoBody)
				}
			})
		})
	}
}
