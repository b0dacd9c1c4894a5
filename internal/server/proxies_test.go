package server_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The configurations are those of docs/proxies.md.

const nginxConfig = `daemon off; pid %[1]s/pid; worker_processes 1;
events { worker_connections 64; }
http {
  access_log off;
  client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
  upstream latchkey { server %[3]s; keepalive 64; }
  server {
    listen %[2]s;
    location / {
      auth_request /latchkey-verify;
      auth_request_set $latchkey_user $upstream_http_latchkey_user;
      auth_request_set $latchkey_session $upstream_http_latchkey_session;
      proxy_set_header Latchkey-User $latchkey_user;
      proxy_set_header Latchkey-Session $latchkey_session;
      proxy_pass http://%[4]s;
    }
    location = /latchkey-verify {
      internal;
      proxy_pass http://latchkey/latchkey/v1/verify;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_pass_request_body off;
      proxy_set_header Content-Length "";
    }
  }
}
`

const caddyConfig = `{
	admin off
	auto_https off
}
http://%[2]s {
	forward_auth %[3]s {
		uri /latchkey/v1/verify
		copy_headers Latchkey-User Latchkey-Session
	}
	reverse_proxy %[4]s
}
`

// proxy runs a proxy with that configuration before the service and a backend, and
// answers its URL.
func (s *service) proxy(t *testing.T, name, configuration, backend string) string {
	t.Helper()
	binary, err := exec.LookPath(name)
	if err != nil {
		if binary = "/usr/sbin/" + name; !exists(binary) {
			t.Skipf("%s is not here; sh scripts/packages.sh installs it", name)
		}
	}
	directory, address := t.TempDir(), freeAddress(t)
	config := filepath.Join(directory, "config")
	s.must(os.WriteFile(config, fmt.Appendf(nil, configuration, directory, address, s.address, backend), 0o600))
	arguments := map[string][]string{
		"nginx": {"-c", config, "-p", directory, "-e", filepath.Join(directory, "error")},
		"caddy": {"run", "--config", config, "--adapter", "caddyfile"},
	}[name]
	log := &logBuffer{}
	command := exec.CommandContext(t.Context(), binary, arguments...)
	command.Env = append(os.Environ(), "XDG_DATA_HOME="+directory, "XDG_CONFIG_HOME="+directory, "HOME="+directory)
	command.Stdout, command.Stderr = log, log
	command.Cancel = func() error { return command.Process.Signal(syscall.SIGTERM) }
	s.must(command.Start())
	ended := make(chan struct{})
	go func() {
		_ = command.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		_ = command.Process.Signal(syscall.SIGTERM)
		<-ended
	})
	deadline := time.After(30 * time.Second)
	for {
		if conn, err := net.Dial("tcp", address); err == nil {
			_ = conn.Close()
			return "http://" + address
		}
		select {
		case <-ended:
			t.Fatalf("%s ended: %s", name, log)
		case <-deadline:
			t.Fatalf("%s does not listen: %s", name, log)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, os.ErrNotExist)
}

func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String()
}

// Behind real proxies, who has no live session does not get through, and the
// service behind them learns who does.
func TestProxiesAskBeforeTheyForward(t *testing.T) {
	for name, configuration := range map[string]string{"nginx": nginxConfig, "caddy": caddyConfig} {
		t.Run(name, func(t *testing.T) {
			s := start(t, setup{})
			var mu sync.Mutex
			var seen []http.Header
			backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				mu.Lock()
				defer mu.Unlock()
				seen = append(seen, r.Header)
				_, _ = io.WriteString(w, "behind")
			}))
			defer backend.Close()
			address := s.proxy(t, name, configuration, backend.Listener.Addr().String())
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
			ask := func(headers ...string) int {
				t.Helper()
				req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, address+"/some/where?q=1", http.NoBody)
				s.must(err)
				req.Header.Set("Latchkey-User", "forged")
				for i := 0; i < len(headers); i += 2 {
					req.Header.Set(headers[i], headers[i+1])
				}
				resp, err := client.Do(req)
				s.must(err)
				_ = resp.Body.Close()
				return resp.StatusCode
			}
			tokens := s.session(user, password)
			if got := ask(); got != http.StatusUnauthorized {
				t.Errorf("without tokens: %d", got)
			}
			if got := ask(tokens[:2]...); got != http.StatusUnauthorized {
				t.Errorf("without a session: %d", got)
			}
			if len(seen) != 0 {
				t.Error("a request came through")
			}
			if got := ask(tokens...); got != http.StatusOK || len(seen) != 1 {
				t.Fatalf("with both tokens: %d, %d came through", got, len(seen))
			}
			if got := seen[0]["Latchkey-User"]; len(got) != 1 || got[0] != user || seen[0].Get("Latchkey-Session") == "" {
				t.Errorf("the service behind learns that it is %q", got)
			}
			s.clock.advance(20 * time.Minute)
			if got := ask(s.renewed(tokens)...); got != http.StatusUnauthorized || len(seen) != 1 {
				t.Errorf("with a dead session: %d, %d came through", got, len(seen))
			}
			// A service that is away lets nobody through.
			s.must(s.stop())
			if got := ask(tokens...); got < 500 || len(seen) != 1 {
				t.Errorf("without the service: %d, %d came through", got, len(seen))
			}
		})
	}
}

func TestVerifyTellsTheAgeOfTheSession(t *testing.T) {
	s := start(t, setup{})
	tokens := s.session(user, password)
	s.clock.advance(90*time.Second + 999*time.Millisecond)
	if got := s.verify(tokens).header.Get("Latchkey-Session-Age"); got != "90" {
		t.Errorf("after 90 seconds the age is %q", got)
	}
}
