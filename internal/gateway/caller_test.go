package gateway_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/internal/pipenet"
)

// A caller that disconnects is recorded with the status 499, whenever it happens, and the
// log has no warning about the upstream.
func TestACallerThatDisconnectsIsRecordedAs499(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		target string
		body   func() io.Reader
		wait   bool // for a session
	}{
		"while waiting for a session":   {target: "/api/token", wait: true},
		"before the response":           {target: "/api/hang"},
		"in the middle of the response": {target: "/api/half"},
		"while sending a short body": {target: "/api/body", body: func() io.Reader {
			return &trickle{pieces: 10, piece: "x", pause: 3 * time.Second}
		}},
		"while sending a long body": {target: "/api/body", body: func() io.Reader {
			return &trickle{pieces: 100, piece: strings.Repeat("x", 1<<16), pause: time.Second}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			bothProtocols(t, setting{handler: func(w http.ResponseWriter, r *http.Request) {
				switch r.URL.Path {
				case "/api/half":
					_, _ = io.WriteString(w, "half")
					_ = http.NewResponseController(w).Flush()
				case "/api/body":
					_, _ = io.Copy(io.Discard, r.Body)
					return
				}
				<-r.Context().Done()
			}}, func(w *world) {
				if !c.wait {
					w.good(http.MethodPost, "/api/body", strings.NewReader("{}"))
				} else {
					w.accounts.pause.Store(int64(time.Minute))
				}
				var body io.Reader = http.NoBody
				if c.body != nil {
					body = c.body()
				}
				ctx, leave := context.WithTimeout(w.Context(), 20*time.Second)
				defer leave()
				if p, err := w.send(ctx, "one", http.MethodPost, c.target, body); err == nil {
					w.Errorf("got %+v", p)
				}
				pipenet.Pass(time.Second)
				synctest.Wait()
				metrics, err := w.send(w.Context(), "one", http.MethodGet, "/metrics", http.NoBody)
				if err != nil || !strings.Contains(metrics.text, `latchkey_requests_total{code="499",operation="forward"} 1`) {
					w.Errorf("the metrics do not count it: %v", err)
				}
				log := w.log.String()
				if strings.Contains(log, "level=WARN") || strings.Contains(log, "level=ERROR") {
					w.Errorf("the log has a warning: %s", log)
				}
				if statuses := w.recorded(c.target); !slices.Contains(statuses, 499) {
					w.Errorf("the audit trail has %v", statuses)
				}
			})
		})
	}
}

// A body that cannot be read is the caller's fault as well, and the response says so if the
// caller is still connected.
func TestAnUnreadableBodyReturns408(t *testing.T) {
	t.Parallel()
	bothProtocols(t, setting{handler: func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
	}}, func(w *world) {
		w.good(http.MethodPost, "/api/body", strings.NewReader("{}"))
		for _, begin := range []string{"short", strings.Repeat("long", 1<<19)} {
			body, write := io.Pipe() // which stalls after the beginning
			go func() { _, _ = io.WriteString(write, begin) }()
			p, err := w.send(w.Context(), "one", http.MethodPost, "/api/body", body)
			words := "was not forwarded"
			if len(begin) > 1<<20 {
				words = "may have been executed"
			}
			w.is(p, err, 408, "408", words)
			_ = write.Close()
		}
		if log := w.log.String(); strings.Contains(log, "level=WARN") {
			w.Errorf("the log has a warning: %s", log)
		}
	})
}

// Retry-After is the time until the keeper's next login.
func TestRetryAfterIsTheTimeUntilTheNextLogin(t *testing.T) {
	t.Parallel()
	inWorld(t, setting{handler: func(http.ResponseWriter, *http.Request) {}}, func(w *world) {
		var throttled error = &latchkey.FaultError{StatusCode: http.StatusTooManyRequests, Code: "900800",
			RetryAfter: 57 * time.Second}
		w.accounts.fail.Store(&throttled)
		for _, want := range []string{"57", "47"} {
			p, err := w.send(w.Context(), "one", http.MethodGet, "/api/x", http.NoBody)
			w.is(p, err, 503, "900503", "not executed")
			if got := p.Header.Get("Retry-After"); got != want {
				w.Errorf("Retry-After is %q, want %q", got, want)
			}
			pipenet.Pass(10 * time.Second)
		}
		w.accounts.fail.Store(nil)
		pipenet.Pass(37 * time.Second)
		w.good(http.MethodGet, "/api/x", http.NoBody)
	})
}

// If the upstream refuses each new session, the keeper logs in less and less often.
// Retry-After is the time until it does.
func TestRetryAfterOfRefusedSessionsGrows(t *testing.T) {
	t.Parallel()
	inWorld(t, setting{handler: func(http.ResponseWriter, *http.Request) {}}, func(w *world) {
		longest := 0
		for range 7 {
			w.good(http.MethodGet, "/api/x", http.NoBody)
			w.accounts.expire()
			p, err := w.send(w.Context(), "one", http.MethodGet, "/api/x", http.NoBody)
			if err == nil && p.StatusCode == http.StatusOK {
				continue
			}
			w.is(p, err, 503, "900503", "not executed")
			seconds, err := strconv.Atoi(p.Header.Get("Retry-After"))
			if err != nil || seconds < 1 {
				w.Fatalf("Retry-After is %q", p.Header.Get("Retry-After"))
			}
			longest = max(longest, seconds)
			pipenet.Pass(time.Duration(seconds) * time.Second)
		}
		if longest < 10 {
			w.Errorf("the longest wait was %d s", longest)
		}
	})
}

// The responses of a latched gateway name the commands that help, and it stays ready.
func TestALatchedGatewayNamesTheCommands(t *testing.T) {
	t.Parallel()
	inWorld(t, setting{handler: func(http.ResponseWriter, *http.Request) {}}, func(w *world) {
		ready := func() string {
			w.Helper()
			p, err := w.send(w.Context(), "one", http.MethodGet, "/readyz", http.NoBody)
			if err != nil || p.StatusCode != http.StatusOK {
				w.Errorf("/readyz: %v, %+v", err, p)
			}
			return p.text
		}
		w.good(http.MethodGet, "/api/x", http.NoBody)
		if text := ready(); text != "ready\n" {
			w.Errorf("/readyz returned %q", text)
		}
		refused := fmt.Errorf("refused: %w", latchkey.ErrInvalidCredentials)
		w.accounts.fail.Store(&refused)
		w.accounts.expire()
		pipenet.Pass(time.Hour)
		for range 2 {
			p, err := w.send(w.Context(), "one", http.MethodPost, "/api/x", strings.NewReader("{}"))
			w.is(p, err, 503, "900423", "latchkey guard reset")
			for _, words := range []string{"ready\n", "latchkey guard status", "latchkey guard reset", "no session"} {
				if text := ready(); !strings.Contains(text, words) {
					w.Errorf("/readyz returned %q, without %q", text, words)
				}
			}
		}
	})
}
