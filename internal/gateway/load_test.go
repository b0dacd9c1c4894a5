package gateway_test

import (
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey/latchkey/latchtest"
)

// A long body is streamed in both directions, and not kept in memory.
func TestLongBodiesFlowInLittleMemory(t *testing.T) {
	size := int64(64 << 20)
	if os.Getenv("LATCHKEY_SOAK") == "1" {
		size = 1 << 30
	}
	r := newRig(t, func(w http.ResponseWriter, req *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		_, _ = io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{req.Body}, make([]byte, 64<<10))
	}, nil)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	peak := atomic.Uint64{}
	req := r.request("POST", "/api/bulk", io.LimitReader(repeated{}, size))
	req.ContentLength = size
	resp, err := r.http.Do(req)
	r.must(err)
	n, err := io.Copy(watcher{&peak}, resp.Body)
	_ = resp.Body.Close()
	runtime.ReadMemStats(&after)
	if err != nil || n != size {
		t.Errorf("%d of %d bytes came back, error %v", n, size, err)
	}
	if grown := int64(peak.Load()) - int64(before.HeapInuse); grown > 32<<20 {
		t.Errorf("the heap grew by %d MiB", grown>>20)
	}
}

type repeated struct{}

func (repeated) Read(p []byte) (int, error) { return len(p), nil }

// watcher samples the size of the heap.
type watcher struct{ peak *atomic.Uint64 }

func (w watcher) Write(p []byte) (int, error) {
	var random [1]byte
	if _, _ = rand.Read(random[:]); random[0] == 0 {
		var now runtime.MemStats
		runtime.ReadMemStats(&now)
		w.peak.Store(max(w.peak.Load(), now.HeapInuse))
	}
	return len(p), nil
}

// Sixty-four concurrent users over ten minutes of the upstream's time, in which its session
// and its access token end, connections break, and logins fail for a while: no request is
// executed twice, each response is true, and there is no strike.
func TestManyUsersInOneSession(t *testing.T) {
	const users = 64
	var over atomic.Bool
	var mu sync.Mutex
	executed, answered, cuts := map[string]int{}, map[string]int{}, 0
	r := newRig(t, func(_ http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		mu.Lock()
		defer mu.Unlock()
		executed[string(body)]++
		if cuts > 0 && req.Method == http.MethodPost {
			cuts--
			panic(http.ErrAbortHandler) // it was executed, and there is no response
		}
	}, nil)
	r.get("/api/first")
	var working sync.WaitGroup
	for user := range users {
		working.Go(func() {
			for n := 0; !over.Load(); n++ {
				id := fmt.Sprintf("%d/%d", user, n)
				p := r.patiently("POST", "/api/m2m/v1/sms", id)
				mu.Lock()
				answered[id] = p.StatusCode
				mu.Unlock()
			}
		})
	}
	end := func() { r.upstream.ExpireSessions(latchtest.User) }
	revoke := func() { r.upstream.RevokeBearer(latchtest.APIKey) }
	cut := func() {
		mu.Lock()
		defer mu.Unlock()
		cuts = 5
	}
	deny := func() { r.upstream.Inject(latchtest.GetToken, latchtest.Fail(http.StatusServiceUnavailable), 1) }
	refuse := func() {
		r.upstream.Inject(latchtest.LogIn, latchtest.Throttle(time.Second), 1)
		end()
	}
	for _, trouble := range []func(){revoke, end, cut, deny, revoke, cut, refuse, deny, revoke, cut} {
		r.upstream.Advance(time.Minute)
		trouble()
		if p := r.patiently(http.MethodGet, "/api/between", ""); p.StatusCode != http.StatusOK {
			t.Errorf("after a trouble: %d %s", p.StatusCode, p.text)
		}
	}
	for enough := false; !enough; { // on a busy machine the loop above ends sooner
		r.get("/api/between")
		mu.Lock()
		enough = len(answered) >= 10*users
		mu.Unlock()
	}
	over.Store(true)
	working.Wait()
	good := 0
	for id, status := range answered {
		n := executed[id]
		switch {
		case status == http.StatusOK && n == 1:
			good++
		case status == http.StatusBadGateway && n <= 1:
		default:
			t.Errorf("request %s returned %d and executed %d times", id, status, n)
		}
	}
	if len(answered) < 10*users || good < len(answered)*9/10 {
		t.Errorf("%d requests got a response, %d of them with 200", len(answered), good)
	}
	if failures, _ := r.upstream.Strikes(latchtest.User); failures != 0 {
		t.Errorf("%d strikes upstream", failures)
	}
	// Each login followed the end of a session, so there was one at a time.
	if n := r.upstream.Count(latchtest.EventLogIn); n > 3 {
		t.Errorf("%d logins upstream for two ended sessions", n)
	}
	if p := r.patiently("POST", "/api/m2m/v1/sms", "after it all"); p.StatusCode != http.StatusOK {
		t.Errorf("afterwards a request returned %d %s", p.StatusCode, p.text)
	}
}
