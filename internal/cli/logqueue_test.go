package cli_test

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// program starts this program in a separate process.
func program(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	command := exec.Command("latchkey", args...)
	command.Env = append(os.Environ(),
		"XDG_CONFIG_HOME="+t.TempDir(), "XDG_STATE_HOME="+t.TempDir(), "GORACE=atexit_sleep_ms=0")
	return command
}

// begun waits for the ready file of a process.
func begun(t *testing.T, path string) (ready struct {
	URL  string
	PID  int
	Data string
}) {
	t.Helper()
	for deadline := time.Now().Add(startTimeout); time.Now().Before(deadline); {
		if text, err := os.ReadFile(path); err == nil {
			if err := json.Unmarshal(text, &ready); err != nil {
				t.Fatalf("half a ready file was read: %q", text)
			}
			return ready
		}
	}
	t.Fatal("the ready file does not come")
	return ready
}

func TestAFullLogPipeDoesNotBlockTheService(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ready.json")
	command := program(t, "serve", "--demo", "--listen", "127.0.0.1:0", "--ready-file", path)
	output, err := command.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = command.Process.Kill() })
	ready := begun(t, path)
	client := &http.Client{Timeout: startTimeout}
	for range 3000 { // each is refused, because it has no credentials, and logged
		response, err := client.Post(ready.URL+"/api/ts/v1/oauth2/token",
			"application/x-www-form-urlencoded", strings.NewReader("x=1"))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()
	}
	response, err := client.Get(ready.URL + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	metrics, _ := io.ReadAll(response.Body)
	if !strings.Contains(string(metrics), "\nlatchkey_log_dropped_total ") ||
		strings.Contains(string(metrics), "\nlatchkey_log_dropped_total 0\n") {
		t.Error("nothing was dropped and counted")
	}
	// When the log is read again, it reports the number of lost lines, and the service stops
	// in order.
	said := make(chan string, 1)
	found := make(chan struct{})
	go func() {
		var all strings.Builder
		told := false
		for lines := bufio.NewScanner(output); lines.Scan(); {
			all.WriteString(lines.Text() + "\n")
			if !told && strings.Contains(lines.Text(), "log lines were dropped") {
				told = true
				close(found)
			}
		}
		said <- all.String()
	}()
	select {
	case <-found:
	case <-time.After(startTimeout):
		t.Fatal("the log does not say that lines were dropped")
	}
	if err := command.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	has(t, <-said, "level=WARN", "stopping: ", "a second signal stops at once", "msg=stopped")
	if err := command.Wait(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Error("the ready file is still there")
	}
}

func TestAFullLogPipeDoesNotBlockShutdown(t *testing.T) {
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	fill(t, writer)
	path := filepath.Join(t.TempDir(), "ready.json")
	command := program(t, "serve", "--demo", "--listen", "127.0.0.1:0", "--log-format", "json", "--ready-file", path)
	command.Stderr = writer
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = command.Process.Kill() })
	ready := begun(t, path)
	if ready.PID != command.Process.Pid {
		t.Errorf("the ready file has the process %d, and it is %d", ready.PID, command.Process.Pid)
	}
	if response, err := http.Get(ready.URL + "/healthz"); err != nil {
		t.Error(err)
	} else {
		_ = response.Body.Close()
	}
	if err := command.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := command.Wait(); err != nil {
		t.Error(err)
	}
}

// fill writes to a pipe until it is full.
func fill(t *testing.T, pipe *os.File) {
	t.Helper()
	if err := pipe.SetWriteDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	for block := make([]byte, 4096); ; {
		if _, err := pipe.Write(block); err != nil {
			return
		}
	}
}
