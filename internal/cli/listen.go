package cli

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/latchkey/latchkey/internal/atomicfile"
	"github.com/latchkey/latchkey/internal/server"
)

// listenAPI opens the port.
func (f *serveFlags) listenAPI(ctx context.Context) (net.Listener, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", f.listen)
	var bind *os.SyscallError
	switch {
	case err == nil:
		return listener, nil
	case errors.Is(err, syscall.EADDRINUSE), errors.As(err, &bind) && bind.Err == errAddressInUseOnWindows: //nolint:errorlint // a number of the system
		return nil, fail(exitFailed, "%s is taken by another program: %w; nothing was started; stop that, or choose another address: --listen %s", f.listen, err, anotherAddress(f.listen))
	case errors.Is(err, os.ErrPermission):
		return nil, fail(exitFailed, "this user may not listen on %s: %w; nothing was started; choose a port above 1023: --listen %s", f.listen, err, defaultListen)
	}
	return nil, fail(exitFailed, "cannot listen on %s: %w; nothing was started; choose another address with --listen", f.listen, err)
}

// errAddressInUseOnWindows is WSAEADDRINUSE, which package syscall does not
// take for EADDRINUSE.
const errAddressInUseOnWindows = syscall.Errno(10048)

// anotherAddress suggests the next port.
func anotherAddress(address string) string {
	host, port, err := net.SplitHostPort(address)
	n, bad := strconv.Atoi(port)
	if err != nil || bad != nil || n >= 65535 {
		return "127.0.0.1:0"
	}
	return net.JoinHostPort(host, strconv.Itoa(n+1))
}

// listenAdmin opens the admin socket; done removes it.
func (f *serveFlags) listenAdmin() (listener net.Listener, done func(), err error) {
	path, done, err := shortSocketPath(f.socketPath())
	if err != nil {
		return nil, nil, err
	}
	if listener, err = server.ListenUnix(path); err != nil {
		done()
		return nil, nil, fail(exitFailed, "%w; nothing was started", err)
	}
	return listener, done, nil
}

// tlsConfig answers nil for plain HTTP, and the fingerprint of a certificate
// that was made.
func (f *serveFlags) tlsConfig(address net.Addr, log *slog.Logger) (config *tls.Config, fingerprint string, err error) {
	switch {
	case f.tlsCert != "":
		config, err = server.CertificateFiles(f.tlsCert, f.tlsKey, log)
		if err != nil {
			return nil, "", fail(exitFailed, "%w; nothing was started; check --tls-cert and --tls-key", err)
		}
		return config, "", nil
	case !f.tlsSelfSigned:
		return nil, "", nil
	}
	certificate, fingerprint, err := server.SelfSigned(f.certificateHosts(address)...)
	if err != nil {
		return nil, "", fail(exitFailed, "%w; nothing was started", err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Certificate[0]})
	if err := atomicfile.Write(f.certificatePath(), text); err != nil {
		return nil, "", fail(exitFailed, "the certificate cannot be stored: %w; nothing was started", err)
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{certificate}}, fingerprint, nil
}

func (f *serveFlags) certificatePath() string { return filepath.Join(f.data, certificateFile) }

// certificateHosts are the names under which a development service is reached.
func (f *serveFlags) certificateHosts(address net.Addr) []string {
	hosts := []string{"localhost", "127.0.0.1", "::1", vendorHost}
	if name, err := os.Hostname(); err == nil && name != "" {
		hosts = append(hosts, name)
	}
	for _, candidate := range []string{f.listen, address.String()} {
		if host, _, err := net.SplitHostPort(candidate); err == nil && host != "" && !strings.Contains(host, "%") {
			hosts = append(hosts, host)
		}
	}
	return hosts
}
