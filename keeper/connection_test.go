package keeper_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/keeper"
	"github.com/latchkey/latchkey/latchtest"
)

// forwarder forwards everything to the service, whatever it is addressed to.
func forwarder(t *testing.T, service *latchtest.Server) http.Handler {
	target, err := url.Parse(service.URL)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &httputil.ReverseProxy{Transport: transport, Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }}
}

// connected is a keeper whose client uses client for the service at base.
func connected(t *testing.T, base string, client *http.Client) *keeper.Keeper {
	t.Helper()
	c, err := latchkey.NewClient(latchkey.Config{
		BaseURL: base, AllowPlaintext: true, APIKey: latchtest.APIKey, APISecret: latchtest.APISecret, HTTPClient: client,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.CloseIdleConnections)
	return newKeeper(t, nil, keeper.Config{
		Upstream: c, Credential: keeper.Static(latchtest.User, latchtest.Password),
	})
}

// works wants that requests of both kinds go the way that the login goes.
func works(t *testing.T, k *keeper.Keeper, base string) {
	t.Helper()
	for name, client := range map[string]*http.Client{"HTTPClient": k.HTTPClient(),
		"Transport": {Transport: k.Transport(nil)}} {
		resp, err := client.Get(base + "/api/m2m/v1/devices")
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		text, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK || !strings.Contains(string(text), "/api/m2m/v1/devices") {
			t.Errorf("%s: status %d, %q", name, resp.StatusCode, text)
		}
	}
}

func TestRequestsGoTheWayOfTheClientWithACertificateAuthorityOfItsOwn(t *testing.T) {
	server := httptest.NewTLSServer(forwarder(t, latchtest.NewServer(t)))
	defer server.Close()
	works(t, connected(t, server.URL, server.Client()), server.URL)
}

func TestRequestsGoTheWayOfTheClientWithACertificateOfItsOwn(t *testing.T) {
	certificate, pool := newCertificate(t)
	server := httptest.NewUnstartedServer(forwarder(t, latchtest.NewServer(t)))
	server.TLS = &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool, MinVersion: tls.VersionTLS12}
	server.StartTLS()
	defer server.Close()
	client := server.Client()
	transport, ok := client.Transport.(*http.Transport)
	if !ok {
		t.Fatalf("the transport is a %T", client.Transport)
	}
	transport.TLSClientConfig.Certificates = []tls.Certificate{certificate}
	works(t, connected(t, server.URL, client), server.URL)
}

// newCertificate makes one that authenticates a client, and the pool that trusts it.
func newCertificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "inventory"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

// The upstream is known to the proxy only.
func TestRequestsGoTheWayOfTheClientThroughAProxy(t *testing.T) {
	const base = "http://upstream.invalid"
	var through atomic.Int32
	forward := forwarder(t, latchtest.NewServer(t))
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Host != "upstream.invalid" {
			t.Errorf("the proxy was asked for %q", r.URL)
		}
		through.Add(1)
		forward.ServeHTTP(w, r)
	}))
	defer proxy.Close()
	at, err := url.Parse(proxy.URL)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{Proxy: http.ProxyURL(at)}
	works(t, connected(t, base, &http.Client{Transport: transport}), base)
	if n := through.Load(); n != 4 { // access token, login, two requests
		t.Errorf("%d requests went through the proxy, want 4", n)
	}
}

// A client without a transport uses Go's, and so do the requests.
func TestAClientWithoutATransportUsesGosOwn(t *testing.T) {
	service := latchtest.NewServer(t)
	works(t, connected(t, service.URL, &http.Client{}), service.URL)
	works(t, connected(t, service.URL, nil), service.URL)
	if transport, ok := http.DefaultTransport.(*http.Transport); ok {
		transport.CloseIdleConnections()
	}
}

func TestTheClientsTimeLimitAndItsPolicyForRedirectsHold(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/api/slow" {
			select {
			case <-r.Context().Done():
			case <-time.After(10 * time.Second): // which only bounds a test that fails
			}
			return
		}
		http.Redirect(w, r, "/api/slow", http.StatusFound)
	}))
	defer server.Close()
	answered := errors.New("this client follows nothing")
	client := &http.Client{
		Timeout: 300 * time.Millisecond, Transport: &http.Transport{},
		CheckRedirect: func(*http.Request, []*http.Request) error { return answered },
	}
	defer client.CloseIdleConnections()
	k := newKeeper(t, nil, keeper.Config{Upstream: sharing{&constant{url: server.URL}, client}})
	if resp, err := k.HTTPClient().Get(server.URL + "/api/x"); !errors.Is(err, answered) {
		t.Errorf("a redirect: %v, %v, want the client's own policy", resp, err)
	} else {
		_ = resp.Body.Close()
	}
	var late interface{ Timeout() bool }
	if resp, err := k.HTTPClient().Get(server.URL + "/api/slow"); !errors.As(err, &late) || !late.Timeout() {
		t.Errorf("a slow request: %v, %v, want the client's time limit", resp, err)
	}
	if client.Transport == k.HTTPClient().Transport {
		t.Error("the client's transport was given tokens")
	}
}

// sharing is a constant Upstream with an http.Client.
type sharing struct {
	*constant
	client *http.Client
}

func (s sharing) HTTPClient() *http.Client { return s.client }
