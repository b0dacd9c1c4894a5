package cli_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/cli"
	"github.com/latchkey/latchkey/internal/wire"
)

// control sends a request to the path of a control of a simulation.
func control(t *testing.T, method, url, body string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", wire.MediaTypeJSON)
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

// begin starts a service that ends with the test.
func begin(t *testing.T, args ...string) *served {
	t.Helper()
	s, err := start(cli.IO{}, append([]string{"serve", "--listen", "127.0.0.1:0"}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if code := s.stop(); code != 0 {
			t.Errorf("the service exits with %d:\n%s", code, s.log.String())
		}
	})
	return s
}

func TestOnlyASimulationHasControls(t *testing.T) {
	t.Parallel()
	paths := []string{
		"clock", "faults", "switches", "events", "lock", "unlock", "expire", "revoke", "reset", "users", "password",
		"strikes", "clients", "",
	}
	plain := begin(t, "--demo")
	for _, path := range paths {
		for _, method := range []string{"GET", "POST", "PUT", "DELETE"} {
			if status, text := control(t, method, plain.url+wire.PathSimulate+path, "{}"); status != http.StatusNotFound {
				t.Errorf("%s %s of a plain demo returns %d %s", method, path, status, text)
			}
		}
	}
	if status, _ := control(t, "GET", plain.url+"/api/m2m/v1/devices", ""); status != http.StatusNotFound {
		t.Errorf("the rest of the API returns %d in a plain demo", status)
	}
}

func TestASimulationHasControlsAdminSocketAndAPI(t *testing.T) {
	t.Parallel()
	s := begin(t, "--demo", "--simulate", "--lock-after", "3")
	if !strings.Contains(s.log.String(), wire.PathSimulateFaults) {
		t.Errorf("the start does not tell of the controls:\n%s", s.log.String())
	}
	if status, text := control(t, "POST", s.url+wire.PathSimulateClock, `{"advance":"1h"}`); status != http.StatusOK {
		t.Errorf("the clock returns %d %s", status, text)
	}
	data := listed(t, s, "  data         ", ", removed")
	out, _ := run(t, 0, "", "user", "list", "--data", data)
	if !strings.Contains(out, "zbeeblebrox") {
		t.Errorf("the admin socket lists %s", out)
	}
	_, _ = run(t, 0, "", "user", "lock", "zbeeblebrox", "--data", data)
	status, text := control(t, "GET", s.url+wire.PathSimulateEvents, "")
	if status != http.StatusOK || !strings.Contains(text, `"kind":"locked"`) {
		t.Errorf("the events answer %d %s", status, text)
	}
	if status, text := control(t, "POST", s.url+wire.PathSimulateReset, ""); status != http.StatusNoContent {
		t.Errorf("the reset returns %d %s", status, text)
	}
	if out, _ := run(t, 0, "", "user", "list", "--data", data); strings.Contains(out, "locked") {
		t.Errorf("after a reset the admin socket lists %s", out)
	}
	if status, _ := control(t, "GET", s.url+"/api/m2m/v1/devices", ""); status != http.StatusUnauthorized {
		t.Errorf("the rest of the API returns %d without tokens", status)
	}
}

// listed returns a value from the text that the service printed at its start.
func listed(t *testing.T, s *served, before, after string) string {
	t.Helper()
	_, rest, found := strings.Cut(s.log.String(), before)
	value, _, ends := strings.Cut(rest, after)
	if !found || !ends {
		t.Fatalf("there is no %q in:\n%s", before, s.log.String())
	}
	return value
}

func TestADelayDoesNotBlockTheShutdownOfASimulation(t *testing.T) {
	t.Parallel()
	s, err := start(cli.IO{}, "serve", "--listen", "127.0.0.1:0", "--demo", "--simulate")
	if err != nil {
		t.Fatal(err)
	}
	faults := s.url + wire.PathSimulateFaults
	if status, text := control(t, "POST", faults, `{"fault":"delay","operation":"token"}`); status != http.StatusOK {
		t.Fatalf("the fault returns %d %s", status, text)
	}
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		response, err := http.Post(s.url+wire.PathToken, wire.MediaTypeForm, strings.NewReader(""))
		if err == nil {
			response.Body.Close()
		}
	}()
	for {
		if _, text := control(t, "GET", faults, ""); strings.Contains(text, `"faults":[]`) {
			break // the request has met it
		}
		select {
		case <-answered:
			t.Fatal("the request returned without the delay")
		default:
		}
	}
	if code := s.stop(); code != 0 {
		t.Errorf("the service exits with %d:\n%s", code, s.log.String())
	}
	<-answered
	if strings.Contains(s.log.String(), "cut off") {
		t.Errorf("the end was held up:\n%s", s.log.String())
	}
}
