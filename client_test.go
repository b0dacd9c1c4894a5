package latchkey_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/internal/wire"
)

func TestNewClientReportsEveryConfigError(t *testing.T) {
	_, err := latchkey.NewClient(latchkey.Config{
		BaseURL: "http://user:" + password + "@api.example.org/?q=1", UserAgent: "a\nb", Timeout: -1, Scopes: []string{"a b"},
	})
	if err == nil {
		t.Fatal("no error")
	}
	for _, field := range []string{"BaseURL", "APIKey", "APISecret", "UserAgent", "Timeout", "Scopes[0]"} {
		if !strings.Contains(err.Error(), "Config."+field) {
			t.Errorf("the error does not name %s: %v", field, err)
		}
	}
	mustNotShow(t, err)
}

func TestConfigFieldsAreChecked(t *testing.T) {
	for name, change := range map[string]func(*latchkey.Config){
		"scheme":           func(c *latchkey.Config) { c.BaseURL = "ftp://api.example.org" },
		"no scheme":        func(c *latchkey.Config) { c.BaseURL = "api.example.org" },
		"no host":          func(c *latchkey.Config) { c.BaseURL = "https:///api" },
		"no URL":           func(c *latchkey.Config) { c.BaseURL = "https://a b" },
		"user":             func(c *latchkey.Config) { c.BaseURL = "https://u@api.example.org" },
		"query":            func(c *latchkey.Config) { c.BaseURL = "https://api.example.org?" },
		"fragment":         func(c *latchkey.Config) { c.BaseURL = "https://api.example.org/#x" },
		"plaintext":        func(c *latchkey.Config) { c.BaseURL = "http://api.example.org" },
		"plaintext by IP":  func(c *latchkey.Config) { c.BaseURL = "http://192.0.2.1" },
		"almost localhost": func(c *latchkey.Config) { c.BaseURL = "http://localhost.example.org" },
		"colon in key":     func(c *latchkey.Config) { c.APIKey = "a:b" },
		"space in key":     func(c *latchkey.Config) { c.APIKey = "a b" },
		"newline":          func(c *latchkey.Config) { c.APISecret = "read from a file\n" },
		"quote in scope":   func(c *latchkey.Config) { c.Scopes = []string{`"`} },
	} {
		config := latchkey.Config{APIKey: "k", APISecret: "s"}
		change(&config)
		if _, err := latchkey.NewClient(config); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error %v, want exactly one fault", name, err)
		}
	}
	for _, base := range []string{
		"", "https://api.example.org", "https://api.example.org:8443/prefix/",
		"http://localhost:8080", "http://LOCALHOST", "http://127.9.9.9", "http://[::1]:80", "http://[::ffff:127.0.0.1]",
	} {
		if _, err := latchkey.NewClient(latchkey.Config{BaseURL: base, APIKey: "k", APISecret: "s"}); err != nil {
			t.Errorf("%q: %v", base, err)
		}
	}
	if _, err := latchkey.NewClient(latchkey.Config{
		BaseURL: "http://api.example.org", AllowPlaintext: true, APIKey: "k", APISecret: "s",
	}); err != nil {
		t.Errorf("AllowPlaintext is not heeded: %v", err)
	}
}

func TestUnreadableProxySettingIsAConfigError(t *testing.T) {
	t.Setenv("HTTPS_PROXY", "http://user:pa55%zz@proxy.example:3128")
	t.Setenv("NO_PROXY", "10.0.0.0/33")
	for name, test := range map[string]struct {
		client *http.Client
		lines  int
	}{
		"its own": {nil, 2}, "the default transport": {&http.Client{}, 2},
		"the environment's":   {&http.Client{Transport: &http.Transport{Proxy: http.ProxyFromEnvironment}}, 2},
		"one without proxies": {&http.Client{Transport: &http.Transport{}}, 0},
	} {
		_, err := latchkey.NewClient(latchkey.Config{APIKey: "k", APISecret: "s", HTTPClient: test.client})
		if test.lines == 0 {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err == nil || strings.Count(err.Error(), "\n") != test.lines-1 || strings.Contains(err.Error(), "pa55") ||
			!strings.Contains(err.Error(), "HTTPS_PROXY") || !strings.Contains(err.Error(), "NO_PROXY") {
			t.Errorf("%s: error %v, want one line for each variable, without the password", name, err)
		}
	}
}

func TestDefaultsPointToProduction(t *testing.T) {
	client := newClient(t, "")
	if got := fmt.Sprint(client); got != "latchkey.Client(https://thingspace.verizon.com/)" {
		t.Errorf("client is %s", got)
	}
	a := newAPI(t)
	if err := logIn(t.Context(), a.client(t)); err != nil {
		t.Fatal(err)
	}
	for _, r := range a.requests {
		if got := r.Header.Get("User-Agent"); got != "latchkey-go/"+latchkey.Version {
			t.Errorf("user agent %q", got)
		}
	}
}

func TestBaseURLMayHaveAPathAndATrailingSlash(t *testing.T) {
	for _, prefix := range []string{"/", "/upstream", "/upstream/"} {
		a := newAPI(t)
		client := newClient(t, a.URL+prefix)
		if err := logIn(t.Context(), client); err != nil {
			t.Fatal(err)
		}
		base := strings.TrimSuffix(prefix, "/")
		if len(a.to(base+wire.PathToken)) != 1 || len(a.to(base+wire.PathLogIn)) != 1 {
			t.Errorf("%q: the requests went to %s and %s", prefix, a.requests[0].Path, a.requests[1].Path)
		}
	}
}

func TestCallersHTTPClientIsNotChanged(t *testing.T) {
	a := newAPI(t)
	transport := &http.Transport{}
	theirs := &http.Client{Transport: transport}
	t.Cleanup(theirs.CloseIdleConnections)
	client := a.client(t, func(c *latchkey.Config) { c.HTTPClient = theirs })
	if err := logIn(t.Context(), client); err != nil {
		t.Fatal(err)
	}
	if theirs.CheckRedirect != nil || transport.DisableKeepAlives {
		t.Error("the caller's client was altered")
	}
}

func TestDoSendsAnyRequestWithBothTokens(t *testing.T) {
	for _, prefix := range []string{"", "/upstream"} {
		a := newAPI(t)
		a.answer = func(w http.ResponseWriter, _ *http.Request) { reply(w, http.StatusTeapot, `{"a":1}`) }
		client := newClient(t, a.URL+prefix)
		for _, target := range []string{"/api/m2m/v1/x%2Fy/?q=1&r=%20", a.URL + prefix + "/api/m2m/v1/x%2Fy/?q=1&r=%20"} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, target, strings.NewReader(`{"b":2}`))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", "application/json")
			resp, err := client.Do(req, sessionID)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			if err != nil || string(body) != `{"a":1}` || resp.StatusCode != http.StatusTeapot {
				t.Errorf("answer %d %q %v", resp.StatusCode, body, err)
			}
			_ = resp.Body.Close()
			got := a.requests[len(a.requests)-1]
			if got.Method != http.MethodPost || got.Path != prefix+"/api/m2m/v1/x%2Fy/?q=1&r=%20" || got.Body != `{"b":2}` ||
				got.Header.Get("Authorization") != "Bearer "+bearer || got.Header.Get("VZ-M2M-Token") != sessionID ||
				got.Header.Get("Accept") != "application/json" || got.Header.Get("Content-Type") != "application/json" ||
				!strings.HasPrefix(got.Header.Get("User-Agent"), "latchkey-go/") {
				t.Errorf("sent %+v", got)
			}
			if len(req.Header) != 1 {
				t.Errorf("the caller's request was altered: %v", req.Header)
			}
		}
	}
}

func TestDoKeepsTheTokensToTheBaseURL(t *testing.T) {
	a, elsewhere := newAPI(t), newAPI(t)
	client := newClient(t, a.URL+"/upstream")
	for _, target := range []string{
		elsewhere.URL + "/upstream/api", a.URL + "/api", strings.Replace(a.URL, "http:", "https:", 1) + "/upstream/api",
		"//" + elsewhere.Listener.Addr().String() + "/upstream/api", "http://user@" + a.Listener.Addr().String() +
			"/upstream/api",
		"mailto:somebody",
	} {
		body := &closeCounter{Reader: strings.NewReader("{}")}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, target, body)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req, sessionID)
		if err == nil {
			_ = resp.Body.Close()
		}
		if !errors.Is(err, latchkey.ErrNotSent) || body.closed != 1 {
			t.Errorf("%s: error %v, body closed %d times; want ErrNotSent and once", target, err, body.closed)
		}
	}
	if len(a.requests)+len(elsewhere.requests) != 0 {
		t.Error("requests were sent")
	}
}

func TestDoClosesTheBodyWhenThereIsNoToken(t *testing.T) {
	a := newAPI(t)
	a.token = func(w http.ResponseWriter, _ *http.Request) { reply(w, 401, `{"error":"invalid_client"}`) }
	body := &closeCounter{Reader: strings.NewReader("{}")}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "/api/x", body)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := a.client(t).Do(req, "")
	if err == nil {
		_ = resp.Body.Close()
	}
	var noToken *latchkey.AccessTokenError
	if !errors.As(err, &noToken) || body.closed != 1 {
		t.Errorf("error %v, body closed %d times", err, body.closed)
	}
}

type closeCounter struct {
	io.Reader
	closed int
}

func (c *closeCounter) Close() error {
	c.closed++
	return nil
}

func TestResponseBodiesAreAlwaysClosed(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"success":  nil,
		"refusal":  func(w http.ResponseWriter, _ *http.Request) { reply(w, 400, `{"errorCode":"A.B"}`) },
		"no shape": func(w http.ResponseWriter, _ *http.Request) { reply(w, 200, `<html>`) },
		"too long": func(w http.ResponseWriter, _ *http.Request) { reply(w, 200, strings.Repeat("x", 2<<20)) },
		"broken":   cut("{", 10),
	} {
		a := newAPI(t)
		if answer != nil {
			a.answer = answer
		}
		open := &openBodies{next: &http.Transport{DisableKeepAlives: true}}
		client := a.client(t, func(c *latchkey.Config) { c.HTTPClient = &http.Client{Transport: open} })
		for _, op := range []func(context.Context, *latchkey.Client) error{logIn, logOut, reset} {
			if err := op(t.Context(), client); (err == nil) != (name == "success") {
				t.Errorf("%s: %v", name, err)
			}
		}
		if open.given != 4 || open.closed != 4 {
			t.Errorf("%s: %d bodies were given out and %d closed, want 4", name, open.given, open.closed)
		}
	}
}

// openBodies counts the bodies that it gives out, and those that are closed.
type openBodies struct {
	next          http.RoundTripper
	given, closed int
}

func (o *openBodies) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := o.next.RoundTrip(req)
	if err == nil {
		o.given++
		resp.Body = &countedBody{resp.Body, o}
	}
	return resp, err
}

type countedBody struct {
	io.ReadCloser
	owner *openBodies
}

func (b *countedBody) Close() error {
	b.owner.closed++
	return b.ReadCloser.Close()
}
