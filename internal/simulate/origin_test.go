package simulate_test

import (
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/apitest"
	"github.com/latchkey/latchkey/internal/wire"
)

// send sends a request with headers of a browser's choice; "Host" is one.
func (s *service) send(method, path, body string, headers map[string]string) (int, string) {
	s.t.Helper()
	request, err := http.NewRequestWithContext(apitest.Malformed(s.t.Context()), method, s.url+path,
		strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	for name, value := range headers {
		if name == "Host" {
			request.Host = value
		} else {
			request.Header.Set(name, value)
		}
	}
	response, err := s.client.Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	return response.StatusCode, response.Header.Get("Access-Control-Allow-Origin")
}

func TestNoWebPageDrivesTheControls(t *testing.T) {
	s := start(t)
	port := s.url[strings.LastIndexByte(s.url, ':'):]
	machine, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	const json, text = "application/json", "text/plain"
	for _, c := range []struct {
		status  int
		headers map[string]string
	}{
		{200, map[string]string{"Content-Type": json}},
		{200, map[string]string{"Content-Type": "Application/JSON; charset=utf-8"}},
		{200, map[string]string{"Content-Type": json, "Host": "localhost" + port}},
		{200, map[string]string{"Content-Type": json, "Host": "LOCALHOST."}},
		{200, map[string]string{"Content-Type": json, "Host": "[::1]:80"}},
		{200, map[string]string{"Content-Type": json, "Host": machine + port}},
		{200, map[string]string{"Content-Type": json, "Host": "thingspace.verizon.com"}},
		{200, map[string]string{"Content-Type": json, "Origin": s.url, "Sec-Fetch-Site": "same-origin"}},
		{415, map[string]string{"Content-Type": text}},
		{415, map[string]string{"Content-Type": "application/x-www-form-urlencoded"}},
		{415, map[string]string{"Content-Type": "multipart/form-data; boundary=x"}},
		{415, map[string]string{"Content-Type": "text/plain; application/json"}},
		{415, map[string]string{"Content-Type": "text/plain,application/json"}},
		{415, map[string]string{"Content-Type": "application/jsonp"}},
		{415, map[string]string{"Content-Type": ""}},
		{415, nil},
		{403, map[string]string{"Content-Type": json, "Origin": "https://evil.example"}},
		{403, map[string]string{"Content-Type": json, "Origin": "null"}},
		{403, map[string]string{"Content-Type": json, "Origin": ""}},
		{403, map[string]string{"Content-Type": json, "Origin": "http://127.0.0.1:1"}},
		{403, map[string]string{"Content-Type": json, "Origin": strings.Replace(s.url, "http:", "https:", 1)}},
		{403, map[string]string{"Content-Type": json, "Sec-Fetch-Site": "cross-site"}},
		{403, map[string]string{"Content-Type": json, "Sec-Fetch-Site": "same-site"}},
		{403, map[string]string{"Content-Type": text, "Origin": "https://evil.example"}},
		{403, map[string]string{"Content-Type": json, "Host": "evil.example"}},
		{403, map[string]string{"Content-Type": json, "Host": "evil.example" + port}},
		{403, map[string]string{"Content-Type": json, "Host": "127.0.0.1.evil.example"}},
		{403, map[string]string{"Content-Type": json, "Host": "localhost.evil.example"}},
		{403, map[string]string{"Content-Type": json, "Host": "evilthingspace.verizon.com"}},
		{403, map[string]string{"Content-Type": json, "Host": "evil.example", "Origin": "http://evil.example"}},
	} {
		before := s.Now()
		if status, allowed := s.send("POST", wire.PathSimulateClock, `{"advance":"1h"}`, c.headers); status != c.status ||
			allowed != "" {
			t.Errorf("%v got %d, not %d, for %q", c.headers, status, c.status, allowed)
		}
		if moved := s.Now().Sub(before).Hours() >= 1; moved != (c.status == 200) {
			t.Errorf("%v moved the clock: %v", c.headers, moved)
		}
	}
	// What has no body, and what only reads, is no exception.
	for path, method := range map[string]string{wire.PathSimulateReset: "POST", wire.PathSimulateFaults: "DELETE",
		wire.PathSimulateEvents: "GET"} {
		for want, headers := range map[int]map[string]string{
			403: {"Host": "evil.example"}, 415: {"Content-Type": text}, 200: {},
		} {
			if status, _ := s.send(method, path, "", headers); status != want && (want != 200 || status != 204) {
				t.Errorf("%s %s with %v got %d", method, path, headers, status)
			}
		}
		if status, _ := s.send(method, path, "", map[string]string{"Origin": "https://evil.example"}); status != 403 {
			t.Errorf("%s %s of a page got %d", method, path, status)
		}
	}
	// The API itself is as it always is.
	if tokens, refusal := s.tokens(); tokens == nil {
		t.Error(refusal)
	}
}
