package cli_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/cli"
	"github.com/latchkey/latchkey/internal/wire"
)

func TestServePrintsWhatTrustLocalTrusts(t *testing.T) {
	t.Parallel()
	upstream, err := start(cli.IO{}, "serve", "--demo", "--simulate", "--listen", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer upstream.stop()
	directory, err := os.MkdirTemp("", "lk") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(directory) }()
	secret, credential := filepath.Join(directory, "secret"), filepath.Join(directory, "upstream.json")
	if err := os.WriteFile(secret, []byte("demo-secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, 0, "IMgr8", "credential", "set", "--credential-file", credential, "--user", "zbeeblebrox", "--password-stdin")
	socket := filepath.Join(directory, "local.sock")
	for _, c := range []struct {
		name        string
		flags       []string
		said        string
		tcp, socket int
	}{
		{"header", nil,
			"with the header Latchkey-Local: NAME; " +
				"a proxy on this machine must remove that header, or use --local-socket", 200, 0},
		{"socket", []string{"--local-socket", socket},
			"over the Unix socket, or from this machine with the header Latchkey-Local: NAME", 200, 200},
		{"proxies", []string{"--local-socket", socket, "--trusted-proxies", "127.0.0.1"},
			"over TCP, where proxies are, none do", 401, 200},
		{"log", []string{"--log-format", "json"}, `"user":"zoe"`, 200, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			data := filepath.Join(directory, c.name)
			gateway, err := start(cli.IO{}, append([]string{
				"serve", "--listen", "127.0.0.1:0", "--data", data, "--upstream", upstream.url, "--upstream-api-key", "demo-key",
				"--upstream-api-secret-file", secret, "--upstream-credential-file", credential, "--trust-local", "zoe",
			}, c.flags...)...)
			if err != nil {
				t.Fatal(err)
			}
			defer gateway.stop()
			run(t, 0, "correct-horse", "user", "add", "zoe", "--password-stdin", "--data", data)
			ask := func(network, address string, headers ...string) int {
				t.Helper()
				dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
					return (&net.Dialer{}).DialContext(ctx, network, address)
				}
				client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: dial}}
				req, err := http.NewRequestWithContext(t.Context(), http.MethodGet,
					gateway.url+"/api/m2m/v1/accounts/7", http.NoBody)
				if err != nil {
					t.Fatal(err)
				}
				for i := 0; i < len(headers); i += 2 {
					req.Header.Set(headers[i], headers[i+1])
				}
				resp, err := client.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				body, _ := io.ReadAll(resp.Body)
				_ = resp.Body.Close()
				if strings.Contains(string(body), wire.HeaderLocal) {
					t.Errorf("the header went upstream: %s", body)
				}
				return resp.StatusCode
			}
			tcp := strings.TrimPrefix(gateway.url, "http://")
			if got := ask("tcp", tcp); got != http.StatusUnauthorized {
				t.Errorf("over TCP without the header: %d", got)
			}
			if got := ask("tcp", tcp, wire.HeaderLocal, "zoe"); got != c.tcp {
				t.Errorf("over TCP with the header: %d, want %d", got, c.tcp)
			}
			if c.socket != 0 {
				if got := ask("unix", socket); got != c.socket {
					t.Errorf("over the socket: %d, want %d", got, c.socket)
				}
			}
			if log := gateway.log.String(); !strings.Contains(log, c.said) || !strings.Contains(log, "zoe") {
				t.Errorf("it does not say %q: %s", c.said, log)
			}
			has(t, gateway.log.String(), "there is no user zoe, so requests without credentials get 403")
		})
	}
}
