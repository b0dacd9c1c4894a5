package gateway_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/internal/gateway"
	"github.com/latchkey/latchkey/internal/wire"
	"github.com/latchkey/latchkey/latchtest"
)

// echo returns the request that it received.
func echo(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	w.Header().Set("Content-Type", wire.MediaTypeJSON)
	_ = json.NewEncoder(w).Encode(map[string]any{
		"method": r.Method, "target": r.RequestURI, "header": r.Header, "body": string(body), "trailer": r.Trailer,
	})
}

type echoed struct {
	Method, Target, Body string
	Header, Trailer      http.Header
}

func (p reply) echoed(t *testing.T) (e echoed) {
	t.Helper()
	if p.StatusCode != http.StatusOK {
		t.Fatalf("returned %d %s", p.StatusCode, p.text)
	}
	if err := json.Unmarshal([]byte(p.text), &e); err != nil {
		t.Fatal(err)
	}
	return e
}

// The requests of the vendor's own SDK to the rest of the API, as they were recorded over
// TLS.
func TestTheVendorsSDKWorksUnmodified(t *testing.T) {
	t.Parallel()
	r := newRig(t, echo, nil)
	for _, c := range []struct{ method, target, body string }{
		{"GET", "/api/m2m/v1/accounts/0000123456-00001", ""},
		{"POST", "/api/m2m/v1/devices/actions/list",
			`{"accountName":"0000123456-00001","filter":{"deviceIdentifierFilters":[{"contains":"9","kind":"imei"}]}}`},
		{"POST", "/api/m2m/v1/sms", `{"accountName":"0000123456-00001","smsMessage":"hi",` +
			`"deviceIds":[{"id":"990013907835573","kind":"imei"}]}`},
		{"GET", "/api/m2m/v1/callbacks/0000123456-00001", ""},
		{"POST", "/api/m2m/v1/callbacks/0000123456-00001", `{"name":"CarrierService","url":"https://example.org/cb"}`},
		{"DELETE", "/api/m2m/v1/callbacks/0000123456-00001/name/CarrierService", ""},
		{"GET", "/api/m2m/v1/devices/x%20y?a=1&b=%2F..%2f&a=2;c&&d", ""},
	} {
		req := r.request(c.method, c.target, strings.NewReader(c.body))
		req.Header.Set("Accept", "application/json")
		req.Header.Set("User-Agent", "vendor-sdk")
		if c.body != "" {
			req.Header.Set("Content-Type", "application/json")
		}
		got := r.do(req).echoed(t)
		if got.Method != c.method || got.Target != c.target || got.Body != c.body {
			t.Errorf("%s %s arrived as %s %s %q", c.method, c.target, got.Method, got.Target, got.Body)
		}
		for name, want := range map[string]string{"Accept": "application/json", "User-Agent": "vendor-sdk",
			"Content-Type": req.Header.Get("Content-Type")} {
			if got.Header.Get(name) != want {
				t.Errorf("%s %s: %s arrived as %q", c.method, c.target, name, got.Header.Get(name))
			}
		}
		if got.Header.Get(wire.HeaderSessionToken) == r.token.Reveal() ||
			got.Header.Get("Authorization") == "Bearer "+r.bearer.Reveal() {
			t.Errorf("%s %s: a local token was forwarded", c.method, c.target)
		}
	}
	if n := r.upstream.Count(latchtest.EventLogIn); n != 1 {
		t.Errorf("%d logins upstream, want one", n)
	}
}

func TestCredentialsAreNotForwardedInEitherDirection(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(w http.ResponseWriter, req *http.Request) {
		header := w.Header()
		header.Set("Set-Cookie", "upstream=secret")
		header.Set(wire.HeaderSessionToken, req.Header.Get(wire.HeaderSessionToken))
		header.Set("Authorization", req.Header.Get("Authorization"))
		header.Set("Connection", "X-Hop")
		header.Set("X-Hop", "1")
		header.Set("X-Kept", "1")
		echo(w, req)
	}, nil)
	req := r.request("POST", "/api/m2m/v1/devices/actions/list", strings.NewReader("{}"))
	for name, value := range map[string]string{
		"Cookie": "local=secret", "Proxy-Authorization": "Basic x", "Idempotency-Key": "k", "X-Idempotency-Key": "k",
		"Forwarded": "for=10.0.0.1", "X-Forwarded-For": "10.0.0.1", "X-Forwarded-Host": "intranet",
		"X-Forwarded-Proto": "http",
		"Connection":        "X-Secret-Hop", "X-Secret-Hop": "1", "Te": "gzip", "Keep-Alive": "1", "X-Kept": "1",
	} {
		req.Header.Set(name, value)
	}
	p := r.do(req)
	got := p.echoed(t)
	for _, name := range []string{"Cookie", "Proxy-Authorization", "Idempotency-Key", "X-Idempotency-Key", "Forwarded",
		"X-Forwarded-For",
		"X-Forwarded-Host", "X-Forwarded-Proto", "X-Secret-Hop", "Te", "Keep-Alive"} {
		if got.Header[http.CanonicalHeaderKey(name)] != nil {
			t.Errorf("%s was forwarded", name)
		}
	}
	for _, name := range []string{"Set-Cookie", wire.HeaderSessionToken, "Authorization", "X-Hop"} {
		if p.Header.Get(name) != "" {
			t.Errorf("%s was returned to the caller", name)
		}
	}
	if got.Header.Get("X-Kept") != "1" || p.Header.Get("X-Kept") != "1" {
		t.Error("an ordinary header was lost")
	}
}

func TestStatusBodiesTrailersAndCompressionPassUntouched(t *testing.T) {
	t.Parallel()
	var zipped bytes.Buffer
	zip := gzip.NewWriter(&zipped)
	_, _ = zip.Write([]byte("compressed"))
	_ = zip.Close()
	r := newRig(t, func(w http.ResponseWriter, req *http.Request) {
		switch req.URL.Path {
		case "/api/gzip":
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(zipped.Bytes())
		case "/api/trailer":
			w.Header().Set("Trailer", "X-Sum")
			_, _ = io.Copy(w, req.Body)
			w.Header().Set("X-Sum", "42")
		case "/api/error":
			w.WriteHeader(http.StatusTeapot)
			_, _ = io.WriteString(w, `{"errorCode":"Any.INPUT_INVALID.Request"}`)
		case "/api/refused":
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `{"errorCode":"Any.INPUT_INVALID.Request","errorMessage":"no"}`)
		default:
			echo(w, req)
		}
	}, nil)
	if p := r.get("/api/gzip"); p.text != zipped.String() || p.Header.Get("Content-Encoding") != "gzip" {
		t.Errorf("a compressed response came as %q", p.text)
	}
	if p := r.get("/api/error"); p.StatusCode != http.StatusTeapot || !strings.Contains(p.text, "INPUT_INVALID") {
		t.Errorf("an error came as %d %s", p.StatusCode, p.text)
	}
	if p := r.get("/api/refused"); p.StatusCode != http.StatusBadRequest ||
		p.text != `{"errorCode":"Any.INPUT_INVALID.Request","errorMessage":"no"}` {
		t.Errorf("an error came as %d %s", p.StatusCode, p.text)
	}
	if p := r.do(r.request("POST", "/api/trailer", strings.NewReader("x"))); p.text != "x" ||
		p.Trailer.Get("X-Sum") != "42" {
		t.Errorf("trailers came as %v", p.Trailer)
	}
	for _, length := range []int{10, 3 << 20} { // buffered, and streamed
		req := r.request("POST", "/api/echo", io.MultiReader(strings.NewReader(strings.Repeat("b", length))))
		req.Trailer = http.Header{"X-Check": {"7"}, http.CanonicalHeaderKey(wire.HeaderSessionToken): {"smuggled"}}
		got := r.do(req).echoed(t)
		if len(got.Body) != length || got.Trailer.Get("X-Check") != "7" || got.Trailer.Get(wire.HeaderSessionToken) != "" {
			t.Errorf("%d bytes arrived as %d, with trailers %v", length, len(got.Body), got.Trailer)
		}
	}
}

// The upstream's session and its access token end. Callers do not notice.
func TestTheGatewayRenewsItsSession(t *testing.T) {
	t.Parallel()
	var executed atomic.Int64
	r := newRig(t, func(w http.ResponseWriter, req *http.Request) {
		executed.Add(1)
		echo(w, req)
	}, nil)
	for i, end := range []func(){
		func() {}, func() { r.upstream.ExpireSessions(latchtest.User) }, func() { r.upstream.RevokeBearer(latchtest.APIKey) },
	} {
		end()
		got := r.patiently("POST", "/api/m2m/v1/sms", `{"n":1}`).echoed(t)
		if got.Body != `{"n":1}` || executed.Load() != int64(i+1) {
			t.Errorf("after end %d: body %q, %d executed", i, got.Body, executed.Load())
		}
	}
}

func TestABodyTooLongToBeBufferedReturns503(t *testing.T) {
	t.Parallel()
	var executed atomic.Int64
	r := newRig(t, func(_ http.ResponseWriter, req *http.Request) {
		executed.Add(1)
		_, _ = io.Copy(io.Discard, req.Body)
	}, func(c *gateway.Config) { c.KeepBody = 1000 })
	if p := r.get("/api/first"); p.StatusCode != http.StatusOK {
		t.Fatal(p.text)
	}
	send := func(length int, chunked bool) reply {
		body := io.Reader(strings.NewReader(strings.Repeat("b", length)))
		if chunked {
			body = io.MultiReader(body)
		}
		return r.do(r.request("POST", "/api/m2m/v1/devices", body))
	}
	for _, chunked := range []bool{false, true} {
		r.upstream.ExpireSessions(latchtest.User)
		before := executed.Load()
		p := send(1001, chunked)
		if p.StatusCode != http.StatusServiceUnavailable || p.Header.Get("Retry-After") == "" ||
			!strings.Contains(p.text, "not executed") || executed.Load() != before {
			t.Errorf("a long body: %d %s, %d executed", p.StatusCode, p.text, executed.Load()-before)
		}
		long := strings.Repeat("b", 1001)
		if p := r.patiently("POST", "/api/m2m/v1/devices", long); p.StatusCode != http.StatusOK ||
			executed.Load() != before+1 {
			t.Errorf("the long body, sent again: %d %s", p.StatusCode, p.text)
		}
		r.upstream.RevokeBearer(latchtest.APIKey) // which is renewed at once
		if p := send(999, chunked); p.StatusCode != http.StatusOK || executed.Load() != before+2 {
			t.Errorf("a short body: %d %s, %d executed", p.StatusCode, p.text, executed.Load()-before)
		}
	}
}

// patiently repeats a request until the gateway has a session: it renews a session that
// ended right after the login a second after that login.
func (r *rig) patiently(method, target, body string) reply {
	r.Helper()
	for began := time.Now(); ; {
		p := r.do(r.request(method, target, strings.NewReader(body)))
		if p.StatusCode != http.StatusServiceUnavailable || time.Since(began) > 10*time.Second {
			return p
		}
	}
}

func TestErrorsReportWhetherARequestMayHaveBeenExecuted(t *testing.T) {
	release := make(chan struct{})
	r := newRig(t, func(w http.ResponseWriter, req *http.Request) {
		switch req.URL.Path {
		case "/api/hang":
			select {
			case <-release:
			case <-req.Context().Done():
			}
		case "/api/cut":
			panic(http.ErrAbortHandler)
		case "/api/half":
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, "half")
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}
	}, func(c *gateway.Config) {
		c.Transport = gateway.NewTransport(func(t *http.Transport) { t.ResponseHeaderTimeout = 300 * time.Millisecond })
	})
	defer close(release)
	check := func(target string, status int, code, words string) {
		t.Helper()
		p := r.do(r.request("POST", target, strings.NewReader("{}")))
		var body wire.FaultBody
		if err := json.Unmarshal([]byte(p.text), &body); err != nil || p.StatusCode != status || body.Fault.Code != code ||
			!strings.Contains(body.Fault.Description, words) {
			t.Errorf("%s returned %d %s", target, p.StatusCode, p.text)
		}
	}
	check("/api/hang", 504, "504", "may have been executed")
	check("/api/cut", 502, "502", "may have been executed")
	if resp, err := r.http.Do(r.request("GET", "/api/half", http.NoBody)); err == nil {
		if _, err := io.ReadAll(resp.Body); err == nil {
			t.Error("a cut-off response looks complete")
		}
		_ = resp.Body.Close()
	}
	if r.get("/api/fine").StatusCode != 200 {
		t.Error("the service does not continue")
	}
}

func TestALatchedKeeperReturns503(t *testing.T) {
	t.Parallel()
	r := newRig(t, echo, nil)
	r.upstream.SetPassword(latchtest.User, "another")
	for range 5 {
		p := r.get("/api/m2m/v1/devices")
		if p.StatusCode != 503 || !strings.Contains(p.text, "operator") || strings.Contains(p.text, latchtest.User) {
			t.Errorf("the response is %d %s", p.StatusCode, p.text)
		}
	}
	if failures, _ := r.upstream.Strikes(latchtest.User); failures != 1 {
		t.Errorf("%d strikes upstream", failures)
	}
	if len(r.upstream.seen()) != 0 {
		t.Error("a request was forwarded")
	}
}

func TestAnUnreachableUpstreamReturns502(t *testing.T) {
	t.Parallel()
	r := newRig(t, echo, nil)
	r.get("/api/first").echoed(t)
	r.upstream.close()
	p := r.get("/api/m2m/v1/devices")
	if p.StatusCode != 502 || p.Header.Get("Retry-After") == "" || !strings.Contains(p.text, "forwarded.") {
		t.Errorf("the response is %d %s", p.StatusCode, p.text)
	}
}

func TestLocalLoginsAreLocal(t *testing.T) {
	t.Parallel()
	r := newRig(t, echo, nil)
	r.get("/api/first").echoed(t)
	for range 3 {
		if _, err := r.client.LogIn(t.Context(), localUser, "wrong"); err == nil {
			t.Error("a wrong password logged in")
		}
	}
	if failures, _ := r.upstream.Strikes(latchtest.User); failures != 0 || r.upstream.Count(latchtest.EventLogIn) != 1 {
		t.Errorf("%d strikes and %d logins upstream", failures, r.upstream.Count(latchtest.EventLogIn))
	}
	if _, err := r.client.ResetPassword(t.Context(), r.token, localPassword, latchkey.ResetOptions{}); err != nil {
		t.Error(err)
	}
	if err := r.client.LogOut(t.Context(), r.token); err != nil {
		t.Error(err)
	}
	if p := r.get("/api/after"); p.StatusCode != 400 || !strings.Contains(p.text, "SessionToken.Expired") {
		t.Errorf("after the logout: %d %s", p.StatusCode, p.text)
	}
	if n := r.upstream.Count(latchtest.EventReset) + r.upstream.Count(latchtest.EventLogOut); n != 0 {
		t.Error("a reset or a logout was forwarded")
	}
}

func TestRequestsWithoutTokensAreRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t, echo, nil)
	for name, change := range map[string]func(http.Header){
		"no bearer":    func(h http.Header) { h.Del("Authorization") },
		"wrong bearer": func(h http.Header) { h.Set("Authorization", "Bearer wrong") },
		"no session":   func(h http.Header) { h.Del(wire.HeaderSessionToken) },
		"no such session": func(h http.Header) {
			h.Set(wire.HeaderSessionToken, "00000000-0000-4000-8000-000000000000")
		},
		"two sessions": func(h http.Header) { h.Add(wire.HeaderSessionToken, "00000000-0000-4000-8000-000000000000") },
	} {
		req := r.request("GET", "/api/m2m/v1/devices", http.NoBody)
		change(req.Header)
		if p := r.do(req); p.StatusCode != 400 && p.StatusCode != 401 {
			t.Errorf("%s: returned %d %s", name, p.StatusCode, p.text)
		}
	}
	if len(r.upstream.seen()) != 0 {
		t.Error("a request was forwarded")
	}
}

func TestTheLogHoldsNoToken(t *testing.T) {
	t.Parallel()
	r := newRig(t, echo, nil)
	got := r.get("/api/m2m/v1/devices").echoed(t)
	r.upstream.ExpireSessions(latchtest.User)
	r.get("/api/m2m/v1/devices")
	log := r.log.String()
	for what, text := range map[string]latchkey.Secret{
		"the local session": r.token, "the local bearer": r.bearer, "a password": latchtest.Password,
		"another":                localPassword,
		"the upstream's session": latchkey.Secret(got.Header.Get(wire.HeaderSessionToken)),
		"the upstream's bearer":  latchkey.Secret(strings.TrimPrefix(got.Header.Get("Authorization"), "Bearer ")),
	} {
		if text == "" || strings.Contains(log, text.Reveal()) {
			t.Errorf("the log holds %s, or there is none", what)
		}
	}
	if slices.Contains(r.upstream.seen(), "") {
		t.Error("an empty target was forwarded")
	}
}
