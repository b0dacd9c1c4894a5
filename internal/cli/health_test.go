package cli_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/cli"
)

func TestHealthChecksTheServiceOfTheConfiguration(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	t.Run("over plain HTTP", func(t *testing.T) {
		url := serve(t, "--data", t.TempDir())
		t.Setenv("LATCHKEY_LISTEN", strings.TrimPrefix(url, "http://"))
		out, _ := run(t, 0, "", "health")
		has(t, out, "ready")
		_, port, _ := net.SplitHostPort(strings.TrimPrefix(url, "http://"))
		for _, all := range []string{":" + port, "0.0.0.0:" + port, "localhost:" + port} {
			run(t, 0, "", "health", "--listen", all)
		}
		_, said := run(t, 1, "", "health", "--tls-self-signed")
		has(t, said, "not ready")
	})
	_, said := run(t, 1, "", "health", "--listen", unusedAddress())
	has(t, said, "not ready", "refused")
	t.Run("over TLS, on a port of the system's choice", func(t *testing.T) {
		file := t.TempDir() + "/ready"
		s, err := start(cli.IO{}, "serve", "--data", t.TempDir(), "--listen", "127.0.0.1:0",
			"--tls-self-signed", "--ready-file", file)
		if err != nil {
			t.Fatal(err)
		}
		defer s.stop()
		t.Setenv("LATCHKEY_LISTEN", "127.0.0.1:0")
		t.Setenv("LATCHKEY_READY_FILE", file)
		run(t, 0, "", "health")
		t.Setenv("LATCHKEY_LISTEN", strings.TrimPrefix(s.url, "https://"))
		t.Setenv("LATCHKEY_READY_FILE", "")
		run(t, 0, "", "health", "--tls-self-signed")
		run(t, 1, "", "health") // plain HTTP to a TLS port
	})
	_, said = run(t, 1, "", "health", "--ready-file", t.TempDir()+"/none")
	has(t, said, "not ready")
	_, said = run(t, 2, "", "health", "--listen", "127.0.0.1:0")
	has(t, said, "--ready-file")
	run(t, 2, "", "health", "--listen", "8080")
	run(t, 2, "", "health", "all")
}

func TestHealthFailsIfTheServiceIsNotReady(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	for name, answer := range map[string]http.HandlerFunc{
		"unavailable": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = w.Write([]byte("shutting down\n"))
		},
		"another program": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte("<html>welcome</html>\n"))
		},
		"a redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere", http.StatusFound)
		},
		"a page without an end": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(strings.Repeat("x", 1<<20)))
		},
		"ready, and then it ends": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			other := httptest.NewServer(answer)
			defer other.Close()
			_, said := run(t, 1, "", "health", "--listen", strings.TrimPrefix(other.URL, "http://"))
			has(t, said, "not ready")
		})
	}
}
