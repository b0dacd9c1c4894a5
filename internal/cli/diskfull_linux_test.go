package cli_test

import (
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/cli"
)

// send sends a request and returns the status and the body of the response.
func send(t *testing.T, method, address, body string, header map[string]string) (int, string) {
	t.Helper()
	request, err := http.NewRequest(method, address, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range header {
		request.Header.Set(name, value)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

// between returns what is between two texts, or fails.
func between(t *testing.T, text, before, after string) string {
	t.Helper()
	_, rest, ok := strings.Cut(text, before)
	found, _, ended := strings.Cut(rest, after)
	if !ok || !ended {
		t.Fatalf("%q is not in %q", before, text)
	}
	return found
}

// TestServeOnAFullDisk fills the file system of the data directory and frees it again.
func TestServeOnAFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a small file system can be mounted by root only; the store's own tests need no root")
	}
	data := t.TempDir()
	if err := syscall.Mount("tmpfs", data, "tmpfs", 0, "size=4m,mode=0700"); err != nil {
		t.Skipf("a small file system cannot be mounted: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(data, 0); err != nil {
			t.Error(err)
		}
	})
	s, err := start(cli.IO{}, "serve", "--listen", "127.0.0.1:0", "--demo", "--data", data)
	if err != nil {
		t.Fatal(err)
	}
	defer s.stop()
	form := map[string]string{"Content-Type": "application/x-www-form-urlencoded"}
	form["Authorization"] = "Basic ZGVtby1rZXk6ZGVtby1zZWNyZXQ="
	_, body := send(t, "POST", s.url+"/api/ts/v1/oauth2/token",
		url.Values{"grant_type": {"client_credentials"}}.Encode(), form)
	bearer := "Bearer " + between(t, body, `"access_token":"`, `"`)
	header := map[string]string{"Content-Type": "application/json", "Authorization": bearer}
	logIn := func() (int, string) {
		return send(t, "POST", s.url+"/api/m2m/v1/session/login", `{"username":"zbeeblebrox","password":"IMgr8"}`, header)
	}
	_, body = logIn()
	header["VZ-M2M-Token"] = between(t, body, `"sessionToken":"`, `"`)

	filler, err := os.Create(filepath.Join(data, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	for chunk := make([]byte, 4096); err == nil; {
		_, err = filler.Write(chunk)
	}
	if err := filler.Close(); err != nil {
		t.Fatal(err)
	}
	// The file may have room to be used again, so it can take a few logins.
	status := 0
	for range 500 {
		if status, body = logIn(); status != http.StatusOK {
			break
		}
	}
	if status != http.StatusServiceUnavailable {
		t.Fatalf("on a full disk a login returns %d %s", status, body)
	}
	status, body = send(t, "GET", s.url+"/readyz", "", nil)
	if status != 200 || !strings.HasPrefix(body, "ready\n") || !strings.Contains(body, "cannot be written") {
		t.Errorf("on a full disk /readyz is %d %q", status, body)
	}
	_, body = send(t, "GET", s.url+"/metrics", "", nil)
	if !strings.Contains(body, `latchkey_store_failing{task="write"} 1`) {
		t.Error("the metrics do not say that the store cannot be written")
	}
	if status, body := send(t, "GET", s.url+"/latchkey/v1/verify", "", header); status != 200 {
		t.Errorf("on a full disk a check returns %d %s", status, body)
	}
	log := s.log.String()
	if !strings.Contains(log, "the disk is full: free space") || strings.Contains(log, "savepoint") ||
		strings.Contains(log, "no transaction") {
		t.Errorf("the log is\n%s", log)
	}

	if err := os.Remove(filler.Name()); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(startTimeout); ; {
		if _, body := send(t, "GET", s.url+"/readyz", "", nil); body == "ready\n" {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("with free space again /readyz says %q", body)
		}
	}
	if status, body := logIn(); status != 200 {
		t.Errorf("with free space again a login returns %d %s", status, body)
	}
}
