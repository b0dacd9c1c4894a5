package gateway_test

import (
	"context"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey/latchkey"
)

// A caller that leaves is recorded as such, whenever it happens, and nobody is
// warned of the upstream.
func TestACallerThatLeavesIsNotTheUpstreamsFault(t *testing.T) {
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
				time.Sleep(time.Second)
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

// A body that cannot be read is the caller's fault as well, and said so if the caller
// is still there.
func TestABodyThatCannotBeReadIsNotTheUpstreamsFault(t *testing.T) {
	bothProtocols(t, setting{handler: func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
	}}, func(w *world) {
		w.good(http.MethodPost, "/api/body", strings.NewReader("{}"))
		for _, begin := range []string{"short", strings.Repeat("long", 1<<19)} {
			body, write := io.Pipe() // which stands still after the beginning
			go func() { _, _ = io.WriteString(write, begin) }()
			p, err := w.send(w.Context(), "one", http.MethodPost, "/api/body", body)
			words := "Nothing was sent on"
			if len(begin) > 1<<20 {
				words = "may have been executed"
			}
			w.is(p, err, 400, "400", words)
			_ = write.Close()
		}
		if log := w.log.String(); strings.Contains(log, "level=WARN") {
			w.Errorf("the log has a warning: %s", log)
		}
	})
}

// The time until the next login is known, and told.
func TestRetryAfterIsTheTimeThatIsKnown(t *testing.T) {
	inWorld(t, setting{handler: func(http.ResponseWriter, *http.Request) {}}, func(w *world) {
		var throttled error = &latchkey.FaultError{StatusCode: http.StatusTooManyRequests, Code: "900800", RetryAfter: 57 * time.Second}
		w.accounts.fail.Store(&throttled)
		for _, want := range []string{"57", "47"} {
			p, err := w.send(w.Context(), "one", http.MethodGet, "/api/x", http.NoBody)
			w.is(p, err, 503, "900503", "not executed")
			if got := p.Header.Get("Retry-After"); got != want {
				w.Errorf("Retry-After is %q, want %q", got, want)
			}
			time.Sleep(10 * time.Second)
		}
		w.accounts.fail.Store(nil)
		time.Sleep(37 * time.Second)
		w.good(http.MethodGet, "/api/x", http.NoBody)
	})
}
