package gateway_test

import (
	"context"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey/latchkey/internal/gateway"
	"github.com/latchkey/latchkey/internal/pipenet"
)

// However many bodies one user sends, and however slowly, another user's requests can be
// repeated when the upstream's session has ended.
func TestLongBodiesOfOneUserLeaveTheBudgetOfAnother(t *testing.T) {
	t.Parallel()
	var g *gateway.Gateway
	set := setting{
		gateway: func(made *gateway.Gateway) { g = made },
		handler: func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) },
	}
	const most, ownMost = 64 << 20, 16 << 20
	for name, body := range map[string]func() io.Reader{
		"trickling": func() io.Reader { return &trickle{pieces: 1000, piece: "x", pause: time.Second} },
		"long and stalled": func() io.Reader {
			return io.MultiReader(strings.NewReader(strings.Repeat("x", 1<<20-10)),
				&trickle{pieces: 1, piece: "0123456789", pause: 55 * time.Second})
		},
	} {
		counts := []int{200}
		if name == "long and stalled" && os.Getenv("LATCHKEY_SOAK") != "1" {
			counts = []int{64} // as many as exceed the budget of all users
		}
		for _, many := range counts {
			t.Run(name, func(t *testing.T) {
				inWorld(t, set, func(w *world) {
					w.good(http.MethodPost, "/api/x", strings.NewReader("{}"))
					ctx, stop := context.WithCancel(w.Context())
					var sending sync.WaitGroup
					for n := range many {
						sending.Go(func() {
							_, _ = w.send(ctx, "one", http.MethodPost, "/api/x", body(), func(r *http.Request) {
								if n%2 == 0 {
									r.ContentLength = 1 << 20
								}
							})
						})
					}
					pipenet.Pass(5 * time.Second)
					if all, own := g.Buffered("one"); own == 0 || own > ownMost || all > most {
						w.Errorf("%d bytes are buffered, %d for one user", all, own)
					}
					for range 3 {
						pipenet.Pass(10 * time.Minute / 100)
						w.accounts.expire()
						pipenet.Pass(time.Second)
						p, err := w.send(w.Context(), "two", http.MethodPost, "/api/x", strings.NewReader(strings.Repeat("y", 1<<20)))
						if err != nil || p.StatusCode != http.StatusOK {
							w.Errorf("the other user got %v, %+v", err, p)
						}
					}
					stop()
					sending.Wait()
					pipenet.Pass(time.Second)
					synctest.Wait()
					if all, own := g.Buffered("one"); all != 0 || own != 0 {
						w.Errorf("%d bytes are still buffered, %d for one user", all, own)
					}
				})
			})
		}
	}
}

// A slow body is buffered for ten seconds and then streamed, and its total time is bounded.
func TestSlowBodiesAreBounded(t *testing.T) {
	t.Parallel()
	var g *gateway.Gateway
	var begun atomic.Pointer[time.Time]
	set := setting{
		gateway: func(made *gateway.Gateway) { g = made },
		handler: func(_ http.ResponseWriter, r *http.Request) {
			now := time.Now()
			begun.Store(&now)
			_, _ = io.Copy(io.Discard, r.Body)
		},
	}
	bothProtocols(t, set, func(w *world) {
		w.good(http.MethodPost, "/api/x", strings.NewReader("{}"))
		start := time.Now()
		w.good(http.MethodPost, "/api/x", &trickle{pieces: 60, piece: "x", pause: time.Second})
		if held := begun.Load().Sub(start); held > 15*time.Second || held < 5*time.Second {
			w.Errorf("the body was forwarded after %v", held)
		}
		start = time.Now()
		p, err := w.send(w.Context(), "one", http.MethodPost, "/api/x",
			&trickle{pieces: 1 << 20, piece: "x", pause: 50 * time.Second})
		w.is(p, err, 408, "408", "too slowly")
		if took := time.Since(start); took > 12*time.Minute || took < 9*time.Minute {
			w.Errorf("it took %v", took)
		}
		pipenet.Pass(time.Second)
		if all, _ := g.Buffered("one"); all != 0 {
			w.Errorf("%d bytes are still buffered", all)
		}
		// A body that is slow, but faster than the bound.
		w.good(http.MethodPost, "/api/x", &trickle{pieces: 1200, piece: strings.Repeat("x", 2<<10), pause: time.Second})
	})
}

// The gateway ends a transfer that stalls: because the upstream does not read the request or
// stops in its response, or because the caller does not read.
func TestStalledTransfersEnd(t *testing.T) {
	t.Parallel()
	var ended atomic.Int64
	set := setting{handler: func(w http.ResponseWriter, r *http.Request) {
		defer ended.Add(1)
		switch r.URL.Path {
		case "/api/takes-nothing":
			pipenet.Pass(10 * time.Minute)
		case "/api/stops":
			_, _ = io.WriteString(w, "begun")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		case "/api/endless":
			for piece := strings.Repeat("x", 1<<20); ; {
				if _, err := io.WriteString(w, piece); err != nil {
					return
				}
			}
		}
	}}
	bothProtocols(t, set, func(w *world) {
		ended.Store(0)
		start := time.Now()
		p, err := w.send(w.Context(), "one", http.MethodPost, "/api/takes-nothing",
			strings.NewReader(strings.Repeat("x", 64<<20)))
		w.is(p, err, 504, "504", "may have been executed")
		if took := time.Since(start); took > 3*time.Minute {
			w.Errorf("it took %v", took)
		}
		start = time.Now()
		if p, err := w.send(w.Context(), "one", http.MethodGet, "/api/stops", http.NoBody); err == nil {
			w.Errorf("half a response looks complete: %+v", p)
		}
		if took := time.Since(start); took > 3*time.Minute {
			w.Errorf("it took %v", took)
		}
		req, err := http.NewRequestWithContext(w.Context(), http.MethodGet, "https://gateway.test/api/endless", http.NoBody)
		w.must(err)
		req.Header = w.users["one"]
		resp, err := w.client.RoundTrip(req)
		w.must(err)
		before := ended.Load()
		pipenet.Pass(3 * time.Minute)
		if ended.Load() == before {
			w.Error("a caller that does not read keeps its transfer")
		}
		if _, err := io.Copy(io.Discard, resp.Body); err == nil {
			w.Error("an endless response has ended well")
		}
		_ = resp.Body.Close()
		pipenet.Pass(time.Hour)
	})
}

// Expect: 100-continue adds no delay for a buffered body, and works for a streamed one.
func TestExpectContinueAddsNoDelay(t *testing.T) {
	t.Parallel()
	set := setting{handler: func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/api/refuses" {
			w.WriteHeader(http.StatusExpectationFailed)
			return
		}
		pipenet.Pass(10 * time.Second) // before it reads, and so before 100 Continue
		n, _ := io.Copy(io.Discard, r.Body)
		w.Header().Set("X-Expect", r.Header.Get("Expect"))
		w.Header().Set("X-Length", time.Duration(n).String())
	}}
	bothProtocols(t, set, func(w *world) {
		expect := func(r *http.Request) { r.Header.Set("Expect", "100-continue") }
		for length, most := range map[int]time.Duration{2: 0, 1 << 20: 0, 3 << 20: time.Second} {
			start := time.Now()
			p, err := w.send(w.Context(), "one", http.MethodPost, "/api/x", strings.NewReader(strings.Repeat("x", length)),
				expect)
			took := time.Since(start) - 10*time.Second
			if err != nil || p.StatusCode != 200 || p.Header.Get("X-Length") != time.Duration(length).String() ||
				took > most+time.Second/10 {
				w.Errorf("%d bytes took %v longer: %v, %+v", length, took, err, p)
			}
			passed := length > 1<<20 && p.ProtoMajor == 1 // net/http takes it from a request of HTTP/2
			if err == nil && passed != (p.Header.Get("X-Expect") != "") {
				w.Errorf("%d bytes: the upstream got Expect: %s", length, p.Header.Get("X-Expect"))
			}
			p, err = w.send(w.Context(), "one", http.MethodPost, "/api/refuses", strings.NewReader(strings.Repeat("x", length)),
				expect)
			if err != nil || p.StatusCode != http.StatusExpectationFailed {
				w.Errorf("%d bytes, refused: %v, %+v", length, err, p)
			}
		}
	})
}
