package gateway_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/authority"
)

// A rule for one resource permits no other one, however its path is written, and a caller's
// Connection header cannot remove what the gateway adds.
func TestRulesHoldForEverySpellingOfAPath(t *testing.T) {
	t.Parallel()
	var seen []string
	var header http.Header
	bothProtocols(t, setting{handler: func(_ http.ResponseWriter, r *http.Request) {
		seen, header = append(seen, r.Method+" "+r.RequestURI), r.Header
	}}, func(w *world) {
		seen = nil
		w.must(w.authority.SetAllow(w.Context(), "one", []string{"GET /api/m2m/v1/devices/**"}, authority.Origin{}))
		for _, target := range []string{
			"/api/m2m/v1/devices/../accounts/1", "/api/m2m/v1/devices/%2e%2e/accounts/1", "/api/m2m/v1/devices/..%2faccounts/1",
			"/api/m2m/v1/devices/.%2e/accounts/1", "/api/m2m/v1/devices/..;/accounts/1", "/api/m2m/v1/devices/..%5caccounts/1",
			"/api/m2m/v1/devices/%252e%252e/accounts/1", "/api/m2m/v1/devices/%c0%ae%c0%ae/accounts/1",
			"/api/m2m/v1/devices//../accounts/1",
			"/api/m2m/v1/devices/.%20./accounts/1", "/api/m2m/v1/devices/..%00/accounts/1",
			"/api/m2m/v1/devices/%EF%BC%8E%EF%BC%8E/accounts",
			"/api/m2m/v1/Accounts/1", "/api/m2m/v1/accounts/1", "/api/m2m/v1/devices%2f..%2faccounts",
			"/latchkey/../api/m2m/v1/accounts/1",
			"//api/m2m/v1/devices/1", "/api/m2m/v1/devicesX/1", "/api/m2m/v1/devices;a=b/../x",
		} {
			for _, method := range []string{http.MethodGet, http.MethodPost} {
				p, err := w.send(w.Context(), "one", method, target, http.NoBody, func(r *http.Request) {
					r.URL.Opaque = target // to the byte
					r.Header.Set("X-HTTP-Method-Override", "GET")
					r.Header.Set("X-Original-URL", "/api/m2m/v1/devices/1")
				})
				if err == nil && p.StatusCode < 400 {
					w.Errorf("%s %s: %d", method, target, p.StatusCode)
				}
			}
		}
		if len(seen) != 0 {
			w.Errorf("forwarded: %q", seen)
		}
		p, err := w.send(w.Context(), "one", http.MethodGet, "/api/m2m/v1/devices/1", http.NoBody, func(r *http.Request) {
			if w.client.Protocols.HTTP1() {
				r.Header.Set("Connection", "Authorization, VZ-M2M-Token, X-Request-Id, Content-Length, Host, Accept-Encoding")
			}
			r.Header.Set("Proxy-Authorization", "Basic eDp5")
			r.Header.Set("Proxy-Connection", "keep-alive")
		})
		if err != nil || p.StatusCode != http.StatusOK {
			w.Fatalf("got %v, %+v", err, p)
		}
		if header.Get("Authorization") != "Bearer bearer" || !strings.HasPrefix(header.Get("VZ-M2M-Token"), "session-") ||
			header.Get("X-Request-Id") == "" || header["Proxy-Authorization"] != nil || header["Proxy-Connection"] != nil {
			w.Errorf("the request was forwarded with %v", header)
		}
	})
}
