package latchkey_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/latchkey/latchkey"
)

func TestTokensAreSentOnlyToConfiguredHosts(t *testing.T) {
	production := newClient(t, "")
	prefixed := newClient(t, "https://API.example.org:8443/prefix/", func(c *latchkey.Config) {
		c.Hosts = map[string]string{"Other.Example.org": "", "ports.example.org:8443": "SessionToken",
			"[::1]:8080": "SessionToken", "127.0.0.1:80": "X"}
	})
	none := newClient(t, "", func(c *latchkey.Config) { c.Hosts = map[string]string{} })
	for _, test := range []struct {
		client *latchkey.Client
		url    string
		header string // "": the tokens must not go there
	}{
		{production, "https://thingspace.verizon.com/api/x", "VZ-M2M-Token"},
		{production, "https://ThingSpace.Verizon.com:443/api/x", "VZ-M2M-Token"},
		{production, "https://imp.thingspace.verizon.com/x", "SessionToken"},
		{production, "https://IMP.thingspace.verizon.com:443/x", "SessionToken"},
		{production, "https://5gedge.verizon.com/api/mec/services", "VZ-M2M-Token"},
		{production, "https://5gedge.verizon.com", "VZ-M2M-Token"},
		{prefixed, "https://api.example.org:8443/prefix/x", "VZ-M2M-Token"},
		{prefixed, "https://api.example.org:8443/prefix", "VZ-M2M-Token"},
		{prefixed, "https://other.example.ORG/any", "VZ-M2M-Token"},
		{prefixed, "https://ports.example.org:8443/", "SessionToken"},
		{prefixed, "http://[::1]:8080/", "SessionToken"}, {prefixed, "https://[::1]:8080/", "SessionToken"},
		{prefixed, "http://127.0.0.1/", "X"},

		{production, "http://imp.thingspace.verizon.com/x", ""},
		{production, "https://imp.thingspace.verizon.com:8443/x", ""},
		{production, "https://imp.thingspace.verizon.com:80/x", ""},
		{production, "https://imp.thingspace.verizon.com./x", ""},
		{production, "https://a.imp.thingspace.verizon.com/x", ""}, {production, "https://verizon.com/x", ""},
		{production, "https://imp.thingspace.verizon.com.example.org/x", ""},
		{production, "https://imp.thingspace.verizon.com@example.org/x", ""},
		{production, "https://u@imp.thingspace.verizon.com/x", ""},
		{production, "https://u:p@imp.thingspace.verizon.com/x", ""},
		{production, "https://example.org/https://imp.thingspace.verizon.com/x", ""},
		{production, "https://example.org#@imp.thingspace.verizon.com", ""},
		{production, "//imp.thingspace.verizon.com/x", ""}, {production, "ftp://imp.thingspace.verizon.com/x", ""},
		{production, "https:imp.thingspace.verizon.com/x", ""}, {production, "https://imp.thingspace.verizon.com:/x", ""},
		{production, "https://imp.thing\u017fpace.verizon.com/x", ""},
		{production, "https://thing\u017fpace.verizon.com/x", ""},
		{production, "https://imp\uff0ethingspace.verizon.com/x", ""},
		{production, "https://imp.thingspace.verizon.com%2eexample.org/x", ""},
		{production, "https://imp.thingspace.verizon.com/a/../b", ""},
		{production, "https://imp.thingspace.verizon.com/%2e%2e/b", ""},
		{production, "https:///x", ""}, {production, "https://staging.thingspace.verizon.com/x", ""},
		{production, "http://thingspace.verizon.com/api/x", ""},
		{prefixed, "https://api.example.org/prefix/x", ""}, {prefixed, "https://api.example.org:8443/prefixed", ""},
		{prefixed, "https://api.example.org:8443/prefix/../x", ""}, {prefixed, "http://other.example.org/", ""},
		{prefixed, "https://ports.example.org/", ""},
		{prefixed, "https://127.0.0.1/", ""}, {prefixed, "http://127.0.0.2/", ""},
		{prefixed, "https://imp.thingspace.verizon.com/x", ""},
		{none, "https://imp.thingspace.verizon.com/x", ""}, {none, "https://5gedge.verizon.com/", ""},
		{newClient(t, latchkey.StagingURL), "https://imp.thingspace.verizon.com/x", ""},
		{newClient(t, "http://127.0.0.1:1"), "https://5gedge.verizon.com/", ""},
		{newClient(t, "https://thingspace.verizon.com:8443"), "https://imp.thingspace.verizon.com/x", ""},
		{newClient(t, latchkey.ProductionURL+"/"), "https://imp.thingspace.verizon.com/x", "SessionToken"},
	} {
		u, err := url.Parse(test.url)
		if err != nil {
			continue // there is no such request
		}
		if header, ok := test.client.SessionHeader(u); header != test.header && ok || ok != (test.header != "") {
			t.Errorf("%v, %s: header %q, %v; want %q", test.client, test.url, header, ok, test.header)
		}
	}
	if _, ok := production.SessionHeader(nil); ok {
		t.Error("the tokens may go nowhere in particular")
	}
}

func TestInvalidHostsAreConfigErrors(t *testing.T) {
	for name, hosts := range map[string]map[string]string{
		"a URL": {"https://imp.example.org": ""}, "a path": {"imp.example.org/x": ""}, "a pattern": {"*.example.org": ""},
		"a domain": {".example.org": ""}, "a root": {"example.org.": ""}, "empty": {"": ""}, "a port": {":443": ""},
		"no port": {"example.org:": ""}, "a wrong port": {"example.org:0": ""}, "too high a port": {"example.org:65536": ""},
		"IDN": {"b\u00fccher.example": ""}, "a user": {"u@example.org": ""}, "a space": {"a b": ""},
		"the base":               {"API.example.org": "SessionToken"},
		"the base with its port": {"api.example.org:443": ""}, "twice": {"a.example.org": "", "A.example.org:443": "X"},
		"a header that is none": {"a.example.org": "Session Token"}, "a line break": {"a.example.org": "X\r\nY"},
		"the bearer's": {"a.example.org": "authorization"},
	} {
		_, err := latchkey.NewClient(latchkey.Config{BaseURL: "https://api.example.org", APIKey: "k", APISecret: "s",
			Hosts: hosts})
		if err == nil || !strings.Contains(err.Error(), "Config.Hosts[") {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func TestDoUsesTheSessionHeaderOfTheHost(t *testing.T) {
	a, imp := newAPI(t), newAPI(t)
	client := a.client(t, func(c *latchkey.Config) {
		c.Hosts = map[string]string{strings.TrimPrefix(imp.URL, "http://"): "SessionToken"}
	})
	for _, target := range []string{imp.URL + "/v1/x?q=1", a.URL + "/api/x", "/api/y"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, target, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req, sessionID)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
	}
	if len(imp.requests) != 1 || imp.requests[0].Header.Get("SessionToken") != sessionID ||
		imp.requests[0].Header.Get("VZ-M2M-Token") != "" ||
		imp.requests[0].Header.Get("Authorization") != "Bearer "+bearer || imp.requests[0].Path != "/v1/x?q=1" {
		t.Errorf("the further host got %+v", imp.requests)
	}
	for _, r := range a.requests[1:] {
		if r.Header.Get("VZ-M2M-Token") != sessionID || r.Header.Get("SessionToken") != "" {
			t.Errorf("the service got %+v", r)
		}
	}
	stranger := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter,
		*http.Request) {
		t.Error("a stranger was sent a request")
	}))
	t.Cleanup(stranger.Close)
	for _, target := range []string{stranger.URL + "/v1/x", "/api/../x", "/api/%2e%2e/x"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, target, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.Do(req, sessionID); !errors.Is(err, latchkey.ErrNotSent) {
			t.Errorf("%s: error %v, want ErrNotSent", target, err)
		}
	}
}
