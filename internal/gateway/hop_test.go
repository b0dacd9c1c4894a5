package gateway_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/wire"
)

// rawUpstream connects the transport to a server whose every response is text.
func rawUpstream(text string) func(*http.Transport) {
	return func(t *http.Transport) {
		t.DialContext = func(context.Context, string, string) (net.Conn, error) {
			near, far := net.Pipe()
			go func() {
				defer func() { _ = far.Close() }()
				for in := bufio.NewReader(far); ; {
					r, err := http.ReadRequest(in)
					if err != nil {
						return
					}
					_, _ = io.Copy(io.Discard, r.Body)
					if _, err := io.WriteString(far, text); err != nil {
						return
					}
				}
			}()
			return near, nil
		}
	}
}

// Headers of the connection are removed from an informational response, as from a final
// one.
func TestInformationalResponsesLoseConnectionHeaders(t *testing.T) {
	t.Parallel()
	bothProtocols(t, setting{transport: rawUpstream("HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n" +
		"Connection: X-Nominated, x-also , X-Request-Id\r\nX-Nominated: 1\r\nX-Also: 1\r\nKeep-Alive: timeout=5\r\n" +
		"WWW-Authenticate: Basic realm=x\r\n\r\n" +
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: X-Nominated\r\nX-Nominated: 1\r\n\r\nok")}, func(w *world) {
		informed := 0
		ctx := httptrace.WithClientTrace(w.Context(),
			&httptrace.ClientTrace{Got1xxResponse: func(_ int, header textproto.MIMEHeader) error {
				informed++
				if len(header) > 2 || len(header["Link"]) != 1 {
					w.Errorf("an informational response came with %v", header)
				}
				return nil
			}})
		p, err := w.send(ctx, "one", http.MethodGet, "/api/x", http.NoBody)
		if err != nil || informed != 1 || p.text != "ok" || p.Header["X-Nominated"] != nil ||
			len(p.Header["X-Request-Id"]) != 1 {
			w.Errorf("got %v, %+v after %d informational responses", err, p, informed)
		}
	})
}

// Trailers lose the fields that a recipient could take for fields of the header.
func TestTrailersLoseFieldsOfAHeader(t *testing.T) {
	t.Parallel()
	fields := []string{
		"Content-Length: 5", "Content-Type: text/html", "Content-Encoding: gzip", "Content-Range: bytes 0-1/2",
		"Location: https://elsewhere.test/",
		"Cache-Control: public", "Expires: 0", "Vary: *", "Retry-After: 9", "WWW-Authenticate: Basic realm=x",
		"Set-Cookie: a=b", "Age: 1",
		"If-Match: x", "Range: bytes=0-1", "Expect: x", "Max-Forwards: 1", "Pragma: x", "Date: Sat, 01 Jan 2000 00:00:00 GMT",
	}
	for _, announced := range []string{"", "Trailer: X-Sum, Content-Type, Cache-Control, If-Match\r\n"} {
		text := "HTTP/1.1 200 OK\r\n" + announced +
			"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 42\r\nContent-Digest: d\r\n" +
			strings.Join(fields, "\r\n") + "\r\n\r\n"
		bothProtocols(t, setting{transport: rawUpstream(text)}, func(w *world) {
			p, err := w.send(w.Context(), "one", http.MethodGet, "/api/x", http.NoBody)
			if err != nil || p.text != "ok" || p.Trailer.Get("X-Sum") != "42" || p.Trailer.Get("Content-Digest") != "d" ||
				len(p.Trailer) != 2 {
				w.Errorf("got %v, %q, trailers %v", err, p.text, p.Trailer)
			}
		})
	}
	t.Run("request", func(t *testing.T) {
		var got http.Header
		set := setting{handler: func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			got = r.Trailer
		}}
		inWorld(t, set, func(w *world) {
			w.raw("one", "POST /api/x HTTP/1.1\r\nHost: x\r\nTOKENS\r\nTrailer: X-Sum, Cache-Control, If-Match\r\n"+
				"Transfer-Encoding: chunked\r\n\r\n"+
				"2\r\n{}\r\n0\r\nX-Sum: 42\r\nCache-Control: x\r\nIf-Match: x\r\nContent-Type: text/html\r\n\r\n")
			if got.Get("X-Sum") != "42" || len(got) != 1 {
				w.Errorf("trailers %v were forwarded", got)
			}
		})
	})
}

// No response of the upstream makes a browser ask the user for a password, or looks like a
// response of the caller's proxy.
func TestChallengesOfTheUpstreamAreRemoved(t *testing.T) {
	t.Parallel()
	for _, status := range []string{"401 No", "407 No", "403 No", "200 OK"} {
		bothProtocols(t, setting{transport: rawUpstream("HTTP/1.1 " + status + "\r\nContent-Length: 0\r\n" +
			"WWW-Authenticate: Basic realm=x\r\nProxy-Authenticate: Basic realm=x\r\nAuthentication-Info: x=y\r\n\r\n")},
			func(w *world) {
				for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodHead} {
					p, err := w.send(w.Context(), "one", method, "/api/x", http.NoBody)
					if err != nil || p.Header["Www-Authenticate"] != nil || p.Header["Proxy-Authenticate"] != nil ||
						p.Header["Authentication-Info"] != nil ||
						p.StatusCode == http.StatusUnauthorized || p.StatusCode == http.StatusProxyAuthRequired {
						w.Errorf("%s %s: got %v, %d, %v", method, status, err, p.StatusCode, p.Header)
					}
					if strings.HasPrefix(status, "407") && method != http.MethodHead {
						w.is(p, err, 502, wire.FaultBadGateway, "was not executed")
					}
				}
			})
	}
}
