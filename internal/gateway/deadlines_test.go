package gateway_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/pipenet"
)

// Whatever the service's own deadlines are, a forwarded request may take as long as
// --upstream-timeout permits, and its bodies as long as they make progress.
func TestARequestMayTakeTheUpstreamTimeout(t *testing.T) {
	t.Parallel()
	patient := setting{
		transport: func(t *http.Transport) { t.ResponseHeaderTimeout = 10 * time.Minute },
		handler: func(w http.ResponseWriter, r *http.Request) {
			out := http.NewResponseController(w)
			switch r.URL.Path {
			case "/api/slow":
				_, _ = io.Copy(io.Discard, r.Body)
				pipenet.Pass(9 * time.Minute)
				_, _ = io.WriteString(w, "late")
			case "/api/trickle":
				for range 20 {
					pipenet.Pass(50 * time.Second)
					_, _ = io.WriteString(w, "drop")
					_ = out.Flush()
				}
			case "/api/pauses":
				_, _ = io.WriteString(w, "begun")
				_ = out.Flush()
				for range 3 {
					pipenet.Pass(5 * time.Minute)
					_, _ = io.WriteString(w, "more")
					_ = out.Flush()
				}
			case "/api/count":
				n, err := io.Copy(io.Discard, r.Body)
				if err != nil || n != 100*4 {
					w.WriteHeader(http.StatusTeapot)
				}
				pipenet.Pass(5 * time.Minute)
				_, _ = io.WriteString(w, "counted")
			}
		},
	}
	bothProtocols(t, patient, func(w *world) {
		for _, body := range []string{"", "short", strings.Repeat("long", 1<<19)} {
			if got := w.good(http.MethodPost, "/api/slow", strings.NewReader(body)); got != "late" {
				w.Errorf("with %d bytes: got %q", len(body), got)
			}
		}
		if got := w.good(http.MethodGet, "/api/trickle", http.NoBody); got != strings.Repeat("drop", 20) {
			w.Errorf("a slow response arrived as %q", got)
		}
		if got := w.good(http.MethodGet, "/api/pauses", http.NoBody); got != "begunmoremoremore" {
			w.Errorf("a response with pauses arrived as %q", got)
		}
		if got := w.good(http.MethodPut, "/api/count",
			&trickle{pieces: 100, piece: "drop", pause: 4 * time.Second}); got != "counted" {
			w.Errorf("a slow body, and then a slow response: %q", got)
		}
	})
}
