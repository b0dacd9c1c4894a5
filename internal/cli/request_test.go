package cli_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/latchkey/latchkey/internal/wire"
)

// cutting is a service that gives out tokens over connections that it keeps, and cuts the
// connection of every other request once it has read it.
func cutting(t *testing.T) (url string, requests *atomic.Int32) {
	requests = new(atomic.Int32)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		switch r.URL.Path {
		case wire.PathToken:
			_, _ = io.WriteString(w, `{"access_token":"tok","token_type":"Bearer","expires_in":3600}`)
		case wire.PathLogIn:
			_, _ = io.WriteString(w, `{"sessionToken":"bcce3ea6-fe4f-4952-bacf-eadd80718e83"}`)
		default:
			requests.Add(1)
			panic(http.ErrAbortHandler)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL, requests
}

func TestRequestIsSentOnceIfTheConnectionBreaks(t *testing.T) {
	home := t.TempDir()
	t.Setenv("XDG_STATE_HOME", filepath.Join(home, "state"))
	t.Setenv("XDG_CONFIG_HOME", filepath.Join(home, "config"))
	t.Setenv("LATCHKEY_API_KEY", "k")
	t.Setenv("LATCHKEY_API_SECRET", "s")
	url, requests := cutting(t)
	t.Setenv("LATCHKEY_URL", url)
	password := filepath.Join(home, "password")
	if err := os.WriteFile(password, []byte("IMgr8\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, 0, "", "login", "--user", "zoe", "--password-file", password)
	for _, args := range [][]string{
		{"GET", "/api/m2m/v1/x"}, {"HEAD", "/api/m2m/v1/x"}, {"OPTIONS", "/api/m2m/v1/x"}, {"DELETE", "/api/m2m/v1/x"},
		{"POST", "/api/m2m/v1/x", "--data", "{}", "--header", "Idempotency-Key: 1"},
		{"POST", "/api/m2m/v1/x", "--header", "X-Idempotency-Key: 1"},
	} {
		requests.Store(0)
		_, said := run(t, 5, "", append([]string{"request"}, args...)...)
		if n := requests.Load(); n != 1 {
			t.Errorf("%v was sent %d times", args, n)
		}
		has(t, said, "may have received the request")
	}
	for _, elsewhere := range []string{
		"https://imp.thingspace.verizon.com/x", "http://127.0.0.1:1/x", "//127.0.0.1:1/x", "https://u@127.0.0.1/x",
	} {
		_, said := run(t, 2, "", "request", "GET", elsewhere)
		has(t, said, "nothing was ")
	}
}
