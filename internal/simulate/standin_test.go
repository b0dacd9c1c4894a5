package simulate_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/wire"
)

func TestTheEchoReturnsListsAsTheAPIDoes(t *testing.T) {
	s := start(t)
	tokens, _ := s.tokens()
	for _, c := range []struct{ method, path, want string }{
		{"GET", "/api/m2m/v1/accounts/0000123456-00001",
			`{"method":"GET","path":"/api/m2m/v1/accounts/0000123456-00001","user":"zbeeblebrox"}`},
		{"POST", "/api/m2m/v1/devices/actions/list",
			`{"method":"POST","path":"/api/m2m/v1/devices/actions/list","user":"zbeeblebrox","hasMoreData":false,"devices":[]}`},
		{"POST", "/api/m2m/v1/sms", `{"method":"POST","path":"/api/m2m/v1/sms","user":"zbeeblebrox"}`},
		{"GET", "/api/m2m/v1/callbacks/0000123456-00001",
			`[{"method":"GET","path":"/api/m2m/v1/callbacks/0000123456-00001","user":"zbeeblebrox"}]`},
		{"GET", "/api/m2m/v1/plans/0000123456-00001",
			`[{"method":"GET","path":"/api/m2m/v1/plans/0000123456-00001","user":"zbeeblebrox"}]`},
		{"POST", "/api/m2m/v1/callbacks/0000123456-00001",
			`{"method":"POST","path":"/api/m2m/v1/callbacks/0000123456-00001","user":"zbeeblebrox"}`},
		{"DELETE", "/api/m2m/v1/callbacks/0000123456-00001/name/CarrierService",
			`{"method":"DELETE","path":"/api/m2m/v1/callbacks/0000123456-00001/name/CarrierService","user":"zbeeblebrox"}`},
		{"GET", "/api/m2m/v1/callbacks", `{"method":"GET","path":"/api/m2m/v1/callbacks","user":"zbeeblebrox"}`},
	} {
		if status, text := s.do(t.Context(), s.plain, c.method, c.path, "", tokens...); status != 200 || text != c.want {
			t.Errorf("%s %s got %d %s", c.method, c.path, status, text)
		}
	}
	if status, text := s.do(t.Context(), s.plain, "GET", "/api/m2m/v1/callbacks/0000123456-00001", ""); status != 401 ||
		!json.Valid([]byte(text)) {
		t.Errorf("without tokens it got %d %s", status, text)
	}
}

// A response that comes before the body was read ends the connection, and a caller that
// still sends may not see it.
func TestBodiesAreReadToTheirEnd(t *testing.T) {
	s := start(t)
	tokens, _ := s.tokens()
	upload := func() (int, error) {
		body := strings.NewReader(strings.Repeat("x", 8<<20))
		request, err := http.NewRequestWithContext(t.Context(), "POST", s.url+"/api/m2m/v1/files", struct{ io.Reader }{body})
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(tokens); i += 2 {
			request.Header.Set(tokens[i], tokens[i+1])
		}
		response, err := s.plain.Do(request)
		if err != nil {
			return 0, err
		}
		defer response.Body.Close()
		if body.Len() > 0 {
			t.Errorf("%d bytes were not taken", body.Len())
		}
		return response.StatusCode, nil
	}
	if status, err := upload(); status != 200 {
		t.Errorf("an upload got %d, %v", status, err)
	}
	for want, fault := range map[int]string{503: `"fail"`, 429: `"throttle"`, 403: `"forbid-xml"`,
		400: `"refuse-as","form":"location"`, 200: `"delay","delay":"1ms"`} {
		s.must(200, "POST", wire.PathSimulateFaults, `{"operation":"api","fault":`+fault+`}`)
		if status, err := upload(); status != want {
			t.Errorf("an upload that meets %s got %d, %v", fault, status, err)
		}
	}
}
