package server

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"os"
	"strings"
	"sync"
	"time"
)

// CertificateFiles returns a TLS configuration with the certificate chain and the key of
// two PEM files. Each handshake checks whether the files have changed. If the changed
// files cannot be read, or only one of them has been replaced yet, the previous
// certificate stays in use, and the error is logged to log (nil: slog.Default()).
func CertificateFiles(certFile, keyFile string, log *slog.Logger) (*tls.Config, error) {
	if log == nil {
		log = slog.Default()
	}
	f := &certificateFiles{paths: [2]string{certFile, keyFile}, log: log}
	if err := f.load(); err != nil {
		return nil, err
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: f.get}, nil
}

type certificateFiles struct {
	paths [2]string
	log   *slog.Logger

	mu          sync.Mutex
	changed     [2]time.Time // of the files when they were last read
	certificate *tls.Certificate
}

func (f *certificateFiles) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.times() != f.changed {
		if err := f.load(); err != nil {
			f.log.Error("the new TLS certificate cannot be read; the previous one stays in use", "error", err)
		} else {
			f.log.Info("the TLS certificate was reloaded", "file", f.paths[0])
		}
	}
	return f.certificate, nil
}

// load reads the files. It stores their modification times even if it fails, so that a
// bad file is logged once.
func (f *certificateFiles) load() error {
	f.changed = f.times()
	certificate, err := tls.LoadX509KeyPair(f.paths[0], f.paths[1])
	if err != nil {
		return fmt.Errorf("read the TLS certificate: %w", err)
	}
	f.certificate = &certificate
	return nil
}

func (f *certificateFiles) times() (changed [2]time.Time) {
	for i, path := range f.paths {
		if info, err := os.Stat(path); err == nil {
			changed[i] = info.ModTime()
		}
	}
	return changed
}

// selfSignedLifetime is short, because the certificate is only in memory.
const selfSignedLifetime = 30 * 24 * time.Hour

// SelfSigned returns a certificate for development, for the given host names and
// addresses, and its SHA-256 fingerprint in the form that OpenSSL and browsers show. The
// key is only in memory.
func SelfSigned(hosts ...string) (certificate tls.Certificate, fingerprint string, err error) {
	if len(hosts) == 0 {
		return tls.Certificate{}, "", errors.New("a certificate needs at least one host")
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, "", fmt.Errorf("make a key: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return tls.Certificate{}, "", fmt.Errorf("make a serial number: %w", err)
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serial,
		// Trust stores find certificates by their subject.
		Subject:               pkix.Name{CommonName: fmt.Sprintf("latchkey development %x", serial)},
		NotBefore:             now.Add(-time.Hour), // clocks differ
		NotAfter:              now.Add(selfSignedLifetime),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		IsCA:                  true, // so that a client can trust it as an authority
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, "", fmt.Errorf("sign the certificate: %w", err)
	}
	sum := sha256.Sum256(der)
	fingerprint = strings.ReplaceAll(fmt.Sprintf("% X", sum), " ", ":")
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, fingerprint, nil
}
