package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/gateway"
	"github.com/latchkey/latchkey/internal/outbound"
	"github.com/latchkey/latchkey/internal/service"
	"github.com/latchkey/latchkey/internal/wire"
	"github.com/latchkey/latchkey/keeper"
)

// proxied is what is asked of the upstream.
const proxied = wire.PathAPI + "m2m/v1/accounts/0000123456-00001"

// upstream responds to every request at once, and logs every user in.
func upstream(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", wire.MediaTypeJSON)
	switch r.URL.Path {
	case wire.PathToken:
		_, _ = io.WriteString(w, `{"access_token":"bench","token_type":"Bearer","expires_in":3600}`)
	case wire.PathLogIn:
		_, _ = io.WriteString(w, `{"sessionToken":"bcce3ea6-fe4f-4952-bacf-eadd80718e83"}`)
	default:
		_, _ = io.WriteString(w, `{"accountName":"0000123456-00001","isProvisioningAllowed":true,"organizationName":"bench"}`)
	}
}

// bareProxy is httputil.ReverseProxy as well tuned as the gateway's.
func bareProxy(address string) http.Handler {
	target := &url.URL{Scheme: "http", Host: address}
	transport, _ := outbound.Native(gateway.NewTransport(nil)) // without the renewal
	return &httputil.ReverseProxy{
		Rewrite:    func(p *httputil.ProxyRequest) { p.SetURL(target) },
		Transport:  transport,
		BufferPool: gateway.NewBufferPool(),
	}
}

// gatewayTo is a gateway to the upstream at address, with an embedded database.
func gatewayTo(address, path string) service.Config {
	config := embedded(path)
	config.Upstream = &service.Upstream{
		URL: "http://" + address, APIKey: "k", APISecret: "s",
		Credential: keeper.Static("u", "p"), State: keeper.NewMemoryState(),
	}
	return config
}

// nginxConfig proxies with as many kept connections as the others have.
const nginxConfig = `daemon off; pid %[1]s/pid; error_log %[1]s/error; worker_processes auto;
events { worker_connections 1024; }
http {
	access_log off; client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy;
	fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
	upstream up { server %[3]s; keepalive 512; }
	server { listen %[2]s; keepalive_requests 1000000000;
		location / { proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Connection ""; } }
}
`

// startNginx returns no address if there is no nginx.
func startNginx(ctx context.Context, upstream string) (address string, stop func(), err error) {
	binary, err := exec.LookPath("nginx")
	if err != nil {
		if _, err = os.Stat("/usr/sbin/nginx"); err != nil {
			return "", func() {}, nil //nolint:nilerr // nothing to compare with
		}
		binary = "/usr/sbin/nginx"
	}
	directory, err := os.MkdirTemp("", "latchkey-bench-nginx-")
	if err != nil {
		return "", nil, err
	}
	free, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	address = free.Addr().String()
	_ = free.Close()
	config := filepath.Join(directory, "nginx.conf")
	if err := os.WriteFile(config, fmt.Appendf(nil, nginxConfig, directory, address, upstream), 0o600); err != nil {
		return "", nil, err
	}
	arguments := []string{"-c", config, "-p", directory, "-e", filepath.Join(directory, "error")}
	command := exec.CommandContext(ctx, binary, arguments...) //nolint:gosec // found above
	command.Cancel = func() error { return command.Process.Signal(os.Interrupt) }
	if err := command.Start(); err != nil {
		return "", nil, err
	}
	stop = func() {
		_ = command.Process.Signal(os.Interrupt)
		_ = command.Wait()
		_ = os.RemoveAll(directory)
	}
	for range 100 {
		if conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address); err == nil {
			return address, stop, conn.Close()
		}
		timer := time.NewTimer(50 * time.Millisecond)
		<-timer.C
	}
	stop()
	return "", nil, errors.New("nginx does not listen")
}

// forwarded asks for the upstream's resource in one of the local sessions.
func forwarded(address, bearer string) load {
	return sessionLoad(proxied, address, bearer, few)
}

// benchGateway compares the gateway with proxies that check nothing.
func benchGateway(ctx context.Context, all *databases) error {
	path, err := all.with(ctx, few)
	if err != nil {
		return err
	}
	up, err := start(ctx, "upstream")
	if err != nil {
		return err
	}
	defer up.stop() //nolint:errcheck // measured by then
	names := []string{"httputil.ReverseProxy", "gateway"}
	var targets []load
	for i, arguments := range [][]string{{"proxy", up.address}, {"gateway", path, up.address}} {
		p, err := start(ctx, arguments...)
		if err != nil {
			return err
		}
		defer p.stop() //nolint:errcheck // measured by then
		bearer := strings.Repeat("x", 54)
		if i == 1 {
			if bearer, err = accessToken(ctx, p.address); err != nil {
				return err
			}
		}
		targets = append(targets, forwarded(p.address, bearer))
	}
	address, stop, err := startNginx(ctx, up.address)
	if err != nil {
		return err
	}
	defer stop()
	if address != "" {
		names, targets = append(names, "nginx proxy_pass"), append(targets, forwarded(address, strings.Repeat("x", 54)))
	}
	for _, l := range targets {
		if _, err := l.saturate(ctx, duration, connections); err != nil {
			return err
		}
	}
	rates := make([][]float64, len(targets))
	for round := range rounds {
		progress(round, rounds)
		for _, i := range order(round, len(targets)) {
			r, err := targets[i].saturate(ctx, duration, connections)
			if err != nil {
				return err
			}
			rates[i] = append(rates[i], r.rate())
		}
	}
	offered := median(rates[0]) / 4
	tails, err := tails(ctx, targets, offered)
	if err != nil {
		return err
	}
	for i, name := range names {
		line(fmt.Sprintf("%s, p99 at %.0f/s: %v", name, offered, median(tails[i]).Round(time.Microsecond)),
			fmt.Sprintf("%.0f/s", median(rates[i])), "")
	}
	spreadLine("gateway / httputil.ReverseProxy", "%.2f", ratios(rates[1], rates[0]), ">= 0.95")
	spreadLine("p99: gateway / httputil.ReverseProxy", "%.2f", ratios(microseconds(tails[1]), microseconds(tails[0])),
		"<= 1.30")
	return nil
}
