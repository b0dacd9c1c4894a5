package keeper_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/keeper"
	"github.com/latchkey/latchkey/latchtest"
)

func TestFurtherHostsGetTheSessionInTheHeaderThatTheyWant(t *testing.T) {
	service := latchtest.NewServer(t)
	var seen []http.Header
	imp := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		seen = append(seen, r.Header)
	}))
	t.Cleanup(imp.Close)
	stranger := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("a stranger was sent a request")
	}))
	t.Cleanup(stranger.Close)
	client, err := latchkey.NewClient(latchkey.Config{
		BaseURL: service.URL, APIKey: "demo-key", APISecret: "demo-secret",
		HTTPClient: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}},
		Hosts:      map[string]string{strings.TrimPrefix(imp.URL, "http://"): "SessionToken"},
	})
	if err != nil {
		t.Fatal(err)
	}
	k, err := keeper.New(keeper.Config{Upstream: client, Credential: keeper.Static("zbeeblebrox", "IMgr8"),
		State: keeper.NewMemoryState()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = k.Close(context.Background()) })
	get := func(url string) int {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("VZ-M2M-Token", "the caller's own")
		resp, err := k.HTTPClient().Do(req)
		if err != nil {
			return 0
		}
		_ = resp.Body.Close()
		return resp.StatusCode
	}
	if status := get(imp.URL + "/v1/x"); status != http.StatusOK {
		t.Fatalf("the further host was asked with %d", status)
	}
	tokens, err := k.Tokens(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := seen[0]; got.Get("SessionToken") != tokens.Session.Reveal() || got.Get("VZ-M2M-Token") != "" ||
		got.Get("Authorization") != "Bearer "+tokens.Bearer.Reveal() {
		t.Errorf("the further host got %v", got)
	}
	if status := get(service.URL + "/latchkey/v1/session"); status != http.StatusOK {
		t.Errorf("the service itself responds with %d", status)
	}
	for _, elsewhere := range []string{
		stranger.URL + "/v1/x", strings.Replace(imp.URL, "127.0.0.1", "127.0.0.1.", 1) + "/x",
		strings.Replace(imp.URL, "http://", "http://u@", 1) + "/x",
		strings.Replace(imp.URL, "http:", "https:", 1), imp.URL + "/a/../b",
	} {
		if status := get(elsewhere); status != 0 {
			t.Errorf("%s was asked: %d", elsewhere, status)
		}
	}
	if len(seen) != 1 {
		t.Errorf("the further host got %d requests", len(seen))
	}
}
