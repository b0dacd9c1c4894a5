package keeper_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey/latchkey/keeper"
)

// front responds to the requests of the API itself, and leaves logins and bearers to the
// model. It counts how often every body is closed.
type front struct {
	*model
	api func(req *http.Request, body string) (*http.Response, error)

	mu      sync.Mutex
	tokens  []string // that the requests carried: session and bearer
	bodies  []string // that they had
	answers []*countedBody
}

type countedBody struct {
	io.Reader
	mu     sync.Mutex
	read   int
	closed int
}

func (c *countedBody) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.read += n
	return n, err
}

func (c *countedBody) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed++
	return nil
}

func (f *front) RoundTrip(req *http.Request) (*http.Response, error) {
	if partOf(req.URL.Path) != "api" {
		return f.model.RoundTrip(req)
	}
	body := ""
	if req.Body != nil {
		b, err := io.ReadAll(req.Body)
		_ = req.Body.Close()
		if err != nil {
			return nil, err
		}
		body = string(b)
	}
	f.mu.Lock()
	f.tokens = append(f.tokens, req.Header.Get("VZ-M2M-Token")+" "+req.Header.Get("Authorization"))
	f.bodies = append(f.bodies, body)
	f.mu.Unlock()
	resp, err := f.api(req, body)
	if err != nil {
		return nil, err
	}
	counted := &countedBody{Reader: resp.Body}
	resp.Body = counted
	f.mu.Lock()
	f.answers = append(f.answers, counted)
	f.mu.Unlock()
	return resp, nil
}

// allClosed checks that the body of each response was closed exactly once.
func (f *front) allClosed(t *testing.T, want int) {
	t.Helper()
	if len(f.answers) != want {
		t.Errorf("%d responses, want %d", len(f.answers), want)
	}
	for i, a := range f.answers {
		if a.closed != 1 {
			t.Errorf("the body of response %d was closed %d times, want once", i+1, a.closed)
		}
	}
}

// inFront runs test in a bubble, with a keeper that has been at work for a while and
// responses from api. n counts the requests.
func inFront(t *testing.T, api func(n int, body string) (*http.Response, error),
	test func(*testing.T, *front, *keeper.Keeper)) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		f := &front{model: newModel()}
		f.api = func(_ *http.Request, body string) (*http.Response, error) {
			n++
			return api(n, body)
		}
		k := newKeeper(t, f, keeper.Config{})
		if _, err := k.Tokens(t.Context()); err != nil {
			t.Fatal(err)
		}
		pass(10 * time.Minute)
		test(t, f, k)
	})
}

func answerWith(status int, body string) *http.Response {
	return respond(nil, status, body)
}

func zipped(text string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write([]byte(text))
	_ = w.Close()
	return b.String()
}

const (
	expired = `{"errorCode":"UnifiedWebService.REQUEST_FAILED.SessionToken.Expired","errorMessage":"x"}`
	wrapped = `{"error":"unauthorized",` +
		`"error_description":"Request denied for Expired VZ-M2M token. UWS V1 REST accounts: [400]","cause":"x"}`
)

var refusals = []struct {
	name   string
	status int
	body   string
	of     string
}{
	{"expired", 400, expired, "session"},
	{"invalid, of another service", 400, `{"errorCode":"Billing.INPUT_INVALID.SessionToken.Invalid"}`, "session"},
	{"missing, of another service", 400, `{"errorCode":"Sms.REQUEST_FAILED.SessionToken.Format"}`, "session"},
	{"expired, with status 401", 401, expired, "session"},
	{"wrapped", 400, wrapped, "session"},
	{"wrapped, with status 401", 401, wrapped, "session"},
	{"zipped", 400, zipped(expired), "session"},
	{"bearer", 401, `{"fault":{"code":"900901","message":"Invalid Credentials"}}`, "bearer"},
	{"no bearer", 401, `{"fault":{"code":"900902","message":"Missing Credentials"}}`, "bearer"},
	{"bearer, in XML", 401, `<fault><code>900901</code><message>Invalid</message></fault>`, "bearer"},
}

type brokenReader struct{}
