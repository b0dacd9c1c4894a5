package service

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/latchkey/latchkey/internal/atomicfile"
	"github.com/latchkey/latchkey/internal/server"
	"github.com/latchkey/latchkey/internal/wire"
)

// listen opens the listeners and the certificate.
func (s *Service) listen(ctx context.Context, config *Config, parts *server.Config) error {
	var err error
	if s.api, err = listenTCP(ctx, config.Listen); err != nil {
		return err
	}
	s.closeLater(s.api)
	s.Address, s.URL = s.api.Addr(), config.baseURL(s.api.Addr())
	if parts.TLS, s.Fingerprint, err = config.tls(s.api.Addr()); err != nil {
		return err
	}
	if config.Data != "" {
		path, done, err := ShortSocketPath(config.SocketPath())
		if err != nil {
			return err
		}
		s.closers = append(s.closers, func() error { done(); return nil })
		if s.admin, err = server.ListenUnix(path); err != nil {
			return failed("%w; nothing was started", err)
		}
		s.closeLater(s.admin)
	}
	if config.LocalSocket != "" {
		socket, err := server.ListenUnix(config.LocalSocket)
		if err != nil {
			return failed("%w; nothing was started", err)
		}
		s.further = append(s.further, socket)
		s.closeLater(socket)
	}
	return nil
}

// closeLater makes Close close a listener, unless Run has closed it.
func (s *Service) closeLater(listener net.Listener) {
	s.closers = append(s.closers, func() error {
		_ = listener.Close()
		return nil
	})
}

func listenTCP(ctx context.Context, address string) (net.Listener, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	switch {
	case err == nil:
		return listener, nil
	case IsAddressInUse(err):
		return nil, failed("%s is taken by another program: %w; nothing was started", address, err).
			advise("stop that program, or choose another address: --listen %s", anotherAddress(address))
	case errors.Is(err, os.ErrPermission):
		return nil, failed("this user may not listen on %s: %w; nothing was started", address, err).
			advise("choose a port above 1023: --listen 127.0.0.1:8080")
	}
	return nil, failed("cannot listen on %s: %w; nothing was started", address, err).
		advise("choose another address with --listen")
}

// IsAddressInUse reports whether listening failed because the address is in use.
func IsAddressInUse(err error) bool {
	// WSAEADDRINUSE, which package syscall does not treat as EADDRINUSE.
	const inUseOnWindows = syscall.Errno(10048)
	var bind *os.SyscallError
	return errors.Is(err, syscall.EADDRINUSE) ||
		errors.As(err, &bind) && bind.Err == inUseOnWindows //nolint:errorlint // a number of the system
}

// anotherAddress suggests the next port.
func anotherAddress(address string) string {
	host, port, err := net.SplitHostPort(address)
	n, bad := strconv.Atoi(port)
	if err != nil || bad != nil || n >= 65535 {
		return "127.0.0.1:0"
	}
	return net.JoinHostPort(host, strconv.Itoa(n+1))
}

// UsesTLS reports whether the API is served over TLS.
func (c *Config) UsesTLS() bool { return c.TLSCert != "" || c.TLSSelfSigned }

// CertificatePath returns where a certificate that TLSSelfSigned created is stored.
func (c *Config) CertificatePath() string { return filepath.Join(c.Data, CertificateFile) }

// tls returns nil for plain HTTP, and the fingerprint of a certificate that it created.
func (c *Config) tls(address net.Addr) (config *tls.Config, fingerprint string, err error) {
	switch {
	case c.TLSCert != "":
		config, err = server.CertificateFiles(c.TLSCert, c.TLSKey, c.Log)
		if err != nil {
			return nil, "", failed("%w; nothing was started", err).advise("check --tls-cert and --tls-key")
		}
		return config, "", nil
	case !c.TLSSelfSigned:
		return nil, "", nil
	}
	certificate, fingerprint, err := server.SelfSigned(c.certificateHosts(address)...)
	if err != nil {
		return nil, "", failed("%w; nothing was started", err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Certificate[0]})
	if err := atomicfile.Write(c.CertificatePath(), text); err != nil {
		return nil, "", failed("the certificate cannot be stored: %w; nothing was started", err)
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{certificate}}, fingerprint, nil
}

// certificateHosts returns the names of a development service. The vendor's host is one of
// them, because the vendor's SDKs insist on it.
func (c *Config) certificateHosts(address net.Addr) []string {
	hosts := []string{"localhost", "127.0.0.1", "::1", strings.TrimPrefix(wire.ProductionBaseURL, "https://")}
	if name, err := os.Hostname(); err == nil && name != "" {
		hosts = append(hosts, name)
	}
	for _, candidate := range []string{c.Listen, address.String()} {
		if host, _, err := net.SplitHostPort(candidate); err == nil && host != "" && !strings.Contains(host, "%") {
			hosts = append(hosts, host)
		}
	}
	return hosts
}

// baseURL returns the base URL of the service for clients on this machine.
func (c *Config) baseURL(address net.Addr) string {
	scheme := "http"
	if c.UsesTLS() {
		scheme = "https"
	}
	host, _, _ := net.SplitHostPort(c.Listen) // it was listened on
	_, port, err := net.SplitHostPort(address.String())
	if err != nil {
		return fmt.Sprintf("%s://%s", scheme, address)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
		if name, err := os.Hostname(); err == nil && name != "" {
			host = name
		}
	}
	return scheme + "://" + net.JoinHostPort(host, port)
}

// ShortSocketPath returns a path to a socket that the system accepts: it allows about a
// hundred bytes. done removes what was created for it.
func ShortSocketPath(path string) (short string, done func(), err error) {
	const longest = 103 // macOS allows 104 with the terminating zero, Linux 108
	if len(path) <= longest {
		return path, func() {}, nil
	}
	tooLong := func(err error) error {
		return failed("the path of the admin socket, %s, is too long, and no shortcut can be created: %w", path, err).
			advise("choose a shorter --data, or name a directory that can be written in TMPDIR")
	}
	absolute, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return "", nil, tooLong(err)
	}
	directory, err := os.MkdirTemp("", "latchkey-")
	if err != nil {
		return "", nil, tooLong(err)
	}
	done = func() { _ = os.RemoveAll(directory) } // it contains only the shortcut
	link := filepath.Join(directory, "d")
	if err := os.Symlink(absolute, link); err != nil {
		done()
		return "", nil, tooLong(err)
	}
	short = filepath.Join(link, filepath.Base(path))
	if len(short) > longest {
		done()
		return "", nil, tooLong(errors.New("the path of the temporary directory is too long"))
	}
	return short, done, nil
}
