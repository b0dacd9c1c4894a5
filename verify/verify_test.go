package verify_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/latchkey/latchkey/latchtest"
	"github.com/latchkey/latchkey/verify"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// startBehind starts a service behind the middleware. It returns the sessions of the
// requests that the service got, too.
func startBehind(t *testing.T, url string) (*httptest.Server, *[]verify.Session) {
	t.Helper()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	client := &http.Client{Transport: transport}
	check, err := verify.New(verify.Config{URL: url, HTTPClient: client, Timeout: 2 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	var seen []verify.Session
	server := httptest.NewServer(check.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		session, ok := verify.FromContext(r.Context())
		if !ok {
			t.Error("the context has no session")
		}
		for name := range r.Header {
			if strings.HasPrefix(strings.ToLower(name), "latchkey") {
				t.Errorf("the service gets the header %s of the caller", name)
			}
		}
		seen = append(seen, session)
		_, _ = io.WriteString(w, "behind")
	})))
	t.Cleanup(server.Close)
	return server, &seen
}

// post sends a request and returns the status, the body and the header of the response.
func post(t *testing.T, url string, headers ...string) (int, string, http.Header) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/x", strings.NewReader("body"))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text), resp.Header
}

func TestARequestWithTwoValidTokensIsPassedOn(t *testing.T) {
	service := latchtest.NewServer(t)
	service.AddUser("zoë 100%", "opensesame")
	server, seen := startBehind(t, service.URL)
	token, err := service.Client.LogIn(t.Context(), "zoë 100%", "opensesame")
	if err != nil {
		t.Fatal(err)
	}
	bearer, err := service.Client.AccessToken(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	tokens := []string{"Authorization", "Bearer " + bearer.Token.Reveal(), "VZ-M2M-Token", token.Reveal()}
	service.Advance(90 * time.Second)
	forged := append(tokens[:4:4], "Latchkey-User", "ford", "LATCHKEY_USER", "ford", "Latchkey-Session_Age", "0")
	if status, text, _ := post(t, server.URL, forged...); status != http.StatusOK || text != "behind" {
		t.Fatalf("response %d %s", status, text)
	}
	got := (*seen)[0]
	if got.User != "zoë 100%" || got.Client != latchtest.APIKey || got.ID == "" || got.Age != 90*time.Second {
		t.Errorf("the session is %+v", got)
	}
	for name, headers := range map[string][]string{
		"no tokens": nil, "no session": tokens[:2], "no bearer": tokens[2:],
		"two sessions": append(tokens[:4:4], "VZ-M2M-Token", "00000000-0000-4000-8000-000000000000"),
	} {
		status, text, header := post(t, server.URL, headers...)
		if status != http.StatusUnauthorized || !strings.Contains(text, "{") || header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: response %d %s", name, status, text)
		}
	}
	if err := service.Client.LogOut(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	status, text, _ := post(t, server.URL, tokens...)
	if status != http.StatusUnauthorized || !strings.Contains(text, "SessionToken.Expired") {
		t.Errorf("after the logout: %d %s", status, text)
	}
	if len(*seen) != 1 {
		t.Errorf("%d requests were passed on, want one", len(*seen))
	}
}

func TestNoRequestIsPassedOnWhileTheServiceIsUnavailable(t *testing.T) {
	odd := map[string]http.HandlerFunc{
		"a page of another service": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "welcome")
		},
		"an error": func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "oops", http.StatusInternalServerError)
		},
		"a redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere", http.StatusFound)
		},
		"a cut connection": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	}
	for name, handler := range odd {
		service := httptest.NewServer(handler)
		server, seen := startBehind(t, service.URL)
		status, text, header := post(t, server.URL, "Authorization", "Bearer x")
		if status != http.StatusServiceUnavailable || header.Get("Retry-After") == "" ||
			!strings.Contains(text, "900503") || len(*seen) != 0 {
			t.Errorf("%s: response %d %s", name, status, text)
		}
		service.Close()
		status, _, _ = post(t, server.URL, "Authorization", "Bearer x")
		if status != http.StatusServiceUnavailable || len(*seen) != 0 {
			t.Errorf("%s, stopped: response %d", name, status)
		}
	}
}

func TestNewRejectsInvalidConfigurations(t *testing.T) {
	for _, url := range []string{"", "127.0.0.1:8080", "ftp://x", "http://"} {
		if _, err := verify.New(verify.Config{URL: url}); err == nil {
			t.Errorf("%q was accepted", url)
		}
	}
	if _, err := verify.New(verify.Config{URL: "https://latchkey.example/prefix"}); err != nil {
		t.Error(err)
	}
}
