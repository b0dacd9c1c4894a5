package gateway_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
)

// broken holds responses that are not valid HTTP and repeat the token SESSION.
var broken = map[string]string{
	"first line":        "SESSION\r\n\r\n",
	"status line":       "HTTP/1.1 SESSION OK\r\n\r\n",
	"header":            "HTTP/1.1 200 OK\r\nsession SESSION\r\n\r\n",
	"length":            "HTTP/1.1 200 OK\r\nContent-Length: SESSION\r\n\r\n",
	"transfer encoding": "HTTP/1.1 200 OK\r\nTransfer-Encoding: SESSION\r\n\r\n",
	"trailer":           "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nsession SESSION\r\n\r\n",
	"chunk":             "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nSESSION\r\nx\r\n0\r\n\r\n",
	"status 0":          "HTTP/1.1 000 SESSION\r\nContent-Length: 0\r\n\r\n",
	"status 42":         "HTTP/1.1 042 SESSION\r\nContent-Length: 0\r\n\r\n",
	"status 99":         "HTTP/1.1 099 SESSION\r\nContent-Length: 0\r\n\r\n",
}

// The response to an upstream without valid HTTP is 502. Neither the caller nor the log
// receives the tokens that it repeats, through the gateway or in a program.
func TestABrokenUpstreamLeaksNoTokens(t *testing.T) {
	t.Parallel()
	for name, response := range broken {
		t.Run(name, func(t *testing.T) {
			session := ""
			r := newRig(t, func(w http.ResponseWriter, req *http.Request) {
				session = req.Header.Get("Vz-M2m-Token")
				conn, _, err := http.NewResponseController(w).Hijack()
				if err == nil {
					_, _ = io.WriteString(conn, strings.ReplaceAll(response, "SESSION", session))
					_ = conn.Close()
				}
			}, nil)
			resp, err := r.http.Do(r.request(http.MethodGet, "/api/x", http.NoBody))
			if err == nil {
				var body []byte
				body, err = io.ReadAll(resp.Body)
				_ = resp.Body.Close()
				if resp.StatusCode == http.StatusBadGateway {
					err = errors.New("502")
				}
				if strings.Contains(string(body), session) {
					t.Errorf("the caller got %s", body)
				}
			}
			if err == nil {
				t.Errorf("the response counts as complete, with status %d", resp.StatusCode)
			}
			if log := r.log.String(); strings.Contains(log, session) || strings.Contains(log, "panic") {
				t.Errorf("the log holds the token or a panic: %s", log)
			}
			req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, r.upstream.URL+"/api/x", http.NoBody)
			r.must(err)
			if resp, err := r.keeper.HTTPClient().Do(req); err == nil {
				_ = resp.Body.Close()
			} else if strings.Contains(err.Error(), session) {
				t.Errorf("the error holds the token: %v", err)
			}
		})
	}
}
