package server_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/server"
	"github.com/latchkey/latchkey/internal/testsupport"
	"github.com/latchkey/latchkey/internal/wire"
)

// overTLS runs a service with the configuration and calls test with its address.
func overTLS(t *testing.T, config *tls.Config, test func(address string)) {
	t.Helper()
	s := start(t, setup{})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	s.must(err)
	running, stop := context.WithCancel(context.Background())
	done := make(chan error)
	secure := server.New(server.Config{Authority: s.authority, TLS: config, Log: slog.New(slog.DiscardHandler)})
	go func() { done <- secure.Run(running, listener, nil) }()
	test(listener.Addr().String())
	stop()
	s.must(<-done)
}

func TestSelfSignedCertificateServesItsHosts(t *testing.T) {
	t.Parallel()
	certificate, fingerprint, err := server.SelfSigned("localhost", "127.0.0.1", "thingspace.verizon.com")
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(certificate.Certificate[0])
	if got := strings.ToLower(strings.ReplaceAll(fingerprint, ":", "")); got != hex.EncodeToString(sum[:]) ||
		len(fingerprint) != 95 {
		t.Errorf("the fingerprint is %q, want that of the certificate, %x", fingerprint, sum)
	}
	leaf, err := x509.ParseCertificate(certificate.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	trusted := x509.NewCertPool()
	trusted.AddCert(leaf)
	overTLS(t, &tls.Config{Certificates: []tls.Certificate{certificate}}, func(address string) {
		for _, host := range []string{"localhost", "127.0.0.1", "thingspace.verizon.com"} {
			transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trusted, ServerName: host},
				ForceAttemptHTTP2: true}
			response, err := (&http.Client{Transport: transport}).Get("https://" + address + wire.PathHealth)
			if err != nil {
				t.Errorf("as %s: %v", host, err)
				continue
			}
			body, _ := io.ReadAll(response.Body)
			_ = response.Body.Close()
			if string(body) != "ok\n" || response.ProtoMajor != 2 {
				t.Errorf("as %s it returned %q over HTTP/%d, want ok over HTTP/2", host, body, response.ProtoMajor)
			}
			transport.CloseIdleConnections()
		}
		old := &tls.Config{RootCAs: trusted, ServerName: "localhost", MinVersion: tls.VersionTLS10,
			MaxVersion: tls.VersionTLS11}
		if conn, err := tls.Dial("tcp", address, old); err == nil {
			_ = conn.Close()
			t.Error("TLS 1.1 was accepted")
		}
		if conn, err := tls.Dial("tcp", address, &tls.Config{RootCAs: trusted, ServerName: "other.example"}); err == nil {
			_ = conn.Close()
			t.Error("the certificate is good for a host that it was not made for")
		}
	})
	if _, _, err := server.SelfSigned(); err == nil {
		t.Error("a certificate for no host was made")
	}
}

// store writes a certificate of its own making into two files, dated so that
// each change is visible whatever the file system's clock is.
func store(t *testing.T, directory string, dated time.Time) (certFile, keyFile string, der []byte) {
	t.Helper()
	certificate, _, err := server.SelfSigned("localhost")
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(certificate.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(directory, "cert.pem"), filepath.Join(directory, "key.pem")
	for path, block := range map[string]*pem.Block{
		certFile: {Type: "CERTIFICATE", Bytes: certificate.Certificate[0]},
		keyFile:  {Type: "PRIVATE KEY", Bytes: key},
	} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, dated, dated); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile, certificate.Certificate[0]
}

func TestChangedCertificateFilesAreReloaded(t *testing.T) {
	t.Parallel()
	directory, dated := t.TempDir(), time.Now().Add(-time.Hour)
	certFile, keyFile, first := store(t, directory, dated)
	log := &testsupport.Log{}
	config, err := server.CertificateFiles(certFile, keyFile, slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	overTLS(t, config, func(address string) {
		shown := func() []byte {
			conn, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			return conn.ConnectionState().PeerCertificates[0].Raw
		}
		if !bytes.Equal(shown(), first) {
			t.Error("the certificate is not the one in the file")
		}
		_, _, second := store(t, directory, dated.Add(time.Minute))
		if !bytes.Equal(shown(), second) {
			t.Error("the certificate is not the one that the file changed to")
		}
		if err := os.WriteFile(certFile, []byte("half a file"), 0o600); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if !bytes.Equal(shown(), second) {
				t.Error("with a broken file the certificate from before is gone")
			}
		}
		if got := strings.Count(log.String(), "stays"); got != 1 {
			t.Errorf("the log complains %d times of one broken file:\n%s", got, log)
		}
	})
	if _, err := server.CertificateFiles(filepath.Join(directory, "none.pem"), keyFile, nil); err == nil {
		t.Error("a file that is not there was accepted")
	}
}

// Programs look certificates up by their subjects: with one subject for all, some find
// the wrong one in a file of two.
func TestSelfSignedCertificatesOfTwoServersWorkTogether(t *testing.T) {
	t.Parallel()
	trusted := x509.NewCertPool()
	var made []tls.Certificate
	for range 2 {
		certificate, _, err := server.SelfSigned("localhost", "127.0.0.1")
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := x509.ParseCertificate(certificate.Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		certificate.Leaf = leaf
		made = append(made, certificate)
		trusted.AddCert(leaf)
	}
	one, other := made[0].Leaf, made[1].Leaf
	if bytes.Equal(one.RawSubject, other.RawSubject) || one.SerialNumber.Cmp(other.SerialNumber) == 0 ||
		bytes.Equal(one.SubjectKeyId, other.SubjectKeyId) {
		t.Errorf("both are %v", one.Subject)
	}
	for _, certificate := range made {
		if _, err := certificate.Leaf.Verify(x509.VerifyOptions{DNSName: "localhost", Roots: trusted}); err != nil {
			t.Error(err)
		}
	}
}
