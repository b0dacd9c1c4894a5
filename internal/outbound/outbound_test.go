package outbound_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/outbound"
)

// clearEnvironment unsets the proxy variables.
func clearEnvironment(t *testing.T) {
	t.Helper()
	for _, name := range []string{"HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY"} {
		t.Setenv(name, "")
		t.Setenv(strings.ToLower(name), "")
	}
}

func TestCheckEnvironment(t *testing.T) {
	const secret = "pa55word"
	proxies := map[string]bool{ // whether the value is valid
		"http://proxy.example:3128": true, "http://user:" + secret + "@proxy:3128": true, "https://proxy": true,
		"proxy:3128": true, "proxy": true, "user:" + secret + "@proxy:3128": true, "socks5://127.0.0.1:1080": true,
		"socks5h://[::1]:1080": true,
		"http://proxy:3128/":   true, "http://user:pa%2Fss@proxy": true, "HTTP://PROXY:3128": true,
		"http://pröxy:3128": true, "[::1]:3128": true,

		"http://user:" + secret + "%zz@proxy:3128": false, "http://user:" + secret + "/x@proxy:3128": false,
		"http://user:" + secret + "#x@proxy:3128": false, "http://user:1?" + secret + "@proxy:3128": false,
		"http://us#er:" + secret + "@proxy": false, "http://" + secret + "/@proxy": false,
		" http://proxy:3128": false, "http://proxy:3128\n": false, "http:/proxy:3128": false, "http//proxy:3128": false,
		"http:proxy:3128": false, "://proxy": false, "socks5:proxy:1080": false, "socks4://proxy:1080": false,
		"ftp://proxy": false,
		"http://":     false, "http://:3128": false, ":3128": false, "http://proxy:port": false, "http://proxy:99999": false,
		"http://proxy:0": false, "http://[::1": false, "http://pro xy:3128": false, "proxy:3128:1": false,
		"http://a,b:3128":   false,
		"http://proxy\\x:1": false, "http://user:" + secret + "@": false,
		"\"http://proxy:3128\"": false,
	}
	exceptions := map[string]bool{
		"*": true, "localhost,127.0.0.1,::1": true, "10.0.0.0/8, 192.168.1.0/24,fd00::/8": true,
		".svc,.cluster.local,*.example.org":     true,
		"example.org:8443,10.1.2.3:80,[::1]:80": true, "a,,b,": true, "under_score.example": true,

		"10.0.0.0/33": false, "10.0.0.0/": false, "http://host": false, "a b": false, "a;b": false, "host:port": false,
		"a,b:99999": false,
		":80":       false, "[::1": false, "host\n,x": true, "ho\nst": false, "/8": false, "*.": false, "10.0.0/8": false,
	}
	for _, test := range []struct {
		names  []string
		values map[string]bool
	}{
		{[]string{"HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "https_proxy", "http_proxy", "all_proxy"}, proxies},
		{[]string{"NO_PROXY", "no_proxy"}, exceptions},
	} {
		for _, name := range test.names {
			for value, valid := range test.values {
				clearEnvironment(t)
				t.Setenv(name, value)
				err := outbound.CheckEnvironment()
				if valid != (err == nil) {
					t.Errorf("%s=%q: %v", name, value, err)
				}
				if err != nil && (strings.Contains(err.Error(), secret) || !strings.Contains(err.Error(), name)) {
					t.Errorf("%s=%q: the error shows the password, or does not name the variable: %v", name, value, err)
				}
			}
		}
	}
}

func TestCheckEnvironmentNamesEachInvalidVariableInUse(t *testing.T) {
	clearEnvironment(t)
	t.Setenv("HTTPS_PROXY", "%")
	t.Setenv("https_proxy", "%")
	t.Setenv("NO_PROXY", "a b")
	err := outbound.CheckEnvironment()
	if err == nil || strings.Count(err.Error(), "\n") != 1 || strings.Contains(err.Error(), "https_proxy") {
		t.Errorf("the error is %v", err)
	}
}

func TestCheckProxiesChecksTheEnvironmentIfItIsUsed(t *testing.T) {
	clearEnvironment(t)
	t.Setenv("HTTPS_PROXY", "%")
	for name, test := range map[string]struct {
		transport http.RoundTripper
		uses      bool
	}{
		"nil": {nil, true}, "default": {http.DefaultTransport, true},
		"environment's": {&http.Transport{Proxy: http.ProxyFromEnvironment}, true},
		"none":          {&http.Transport{}, false},
		"a fixed one":   {&http.Transport{Proxy: http.ProxyURL(&url.URL{Scheme: "http", Host: "proxy"})}, false},
		"unknown type":  {http.NewFileTransport(http.Dir(".")), false},
	} {
		if err := outbound.CheckProxies(test.transport); test.uses != (err != nil) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLoseDeadConnectionsKeepsSettings(t *testing.T) {
	own := &http.Transport{HTTP2: &http.HTTP2Config{SendPingTimeout: time.Hour, MaxReadFrameSize: 1 << 20}}
	outbound.LoseDeadConnections(own)
	if h := own.HTTP2; h.SendPingTimeout != time.Hour || h.PingTimeout == 0 || h.MaxReadFrameSize != 1<<20 {
		t.Errorf("the settings are now %+v", h)
	}
	zero := &http.Transport{}
	outbound.LoseDeadConnections(zero)
	h := zero.HTTP2
	if h == nil || h.SendPingTimeout == 0 || h.PingTimeout == 0 || h.SendPingTimeout+h.PingTimeout > 30*time.Second {
		t.Errorf("the settings are now %+v", h)
	}
}
