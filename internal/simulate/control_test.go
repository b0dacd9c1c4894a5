package simulate_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/latchkey/latchkey/internal/apitest"
	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/simulate"
	"github.com/latchkey/latchkey/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// seed is what everything begins with.
var seed = simulate.Seed{APIKey: "demo-key", APISecret: "demo-secret", User: "zbeeblebrox", Password: "IMgr8"}

// service is a simulation behind real HTTP; every exchange with the controls is
// held to the contract.
type service struct {
	*simulate.Service
	t      *testing.T
	url    string
	client *http.Client
	plain  *http.Client
}

func start(t *testing.T) *service {
	t.Helper()
	simulation, err := simulate.New(t.Context(), simulate.Config{Seed: seed})
	if err != nil {
		t.Fatal(err)
	}
	listening := httptest.NewServer(simulation.Front().API)
	t.Cleanup(func() {
		simulation.Release()
		listening.Close()
		if err := simulation.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return &service{simulation, t, listening.URL, &http.Client{
		Transport: apitest.Load(t).Transport(t, listening.Client().Transport),
	}, listening.Client()}
}

func (s *service) do(ctx context.Context, client *http.Client, method, path, body string, headers ...string,
) (int, string) {
	s.t.Helper()
	request, err := http.NewRequestWithContext(ctx, method, s.url+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	if body != "" {
		request.Header.Set("Content-Type", wire.MediaTypeJSON)
	}
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := client.Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return response.StatusCode, strings.TrimSpace(string(text))
}

// must sends a sound request to a control.
func (s *service) must(status int, method, path, body string) string {
	s.t.Helper()
	got, text := s.do(s.t.Context(), s.client, method, path, body)
	if got != status {
		s.t.Fatalf("%s %s returned %d %s", method, path, got, text)
	}
	return text
}

// tokens logs in and returns the headers of a request, or the refusal.
func (s *service) tokens() ([]string, string) {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.t.Context(), "POST", s.url+wire.PathToken,
		strings.NewReader("grant_type=client_credentials"))
	if err != nil {
		s.t.Fatal(err)
	}
	request.SetBasicAuth(seed.APIKey, seed.APISecret.Reveal())
	request.Header.Set("Content-Type", wire.MediaTypeForm)
	response, err := s.plain.Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	var token wire.AccessToken
	if err := json.NewDecoder(response.Body).Decode(&token); err != nil {
		s.t.Fatal(err)
	}
	bearer := "Bearer " + token.AccessToken
	_, text := s.do(s.t.Context(), s.plain, "POST", wire.PathLogIn, `{"username":"zbeeblebrox","password":"IMgr8"}`,
		"Authorization", bearer)
	var result wire.LogInResult
	if err := json.Unmarshal([]byte(text), &result); err != nil || result.SessionToken == "" {
		return nil, text
	}
	return []string{"Authorization", bearer, wire.HeaderSessionToken, result.SessionToken}, ""
}

func (s *service) status(tokens []string) int {
	s.t.Helper()
	status, _ := s.do(s.t.Context(), s.plain, "GET", "/api/m2m/v1/devices", "", tokens...)
	return status
}

func TestControlsAndTheContractAreTheSame(t *testing.T) {
	s := start(t)
	served := s.Controls()
	for path, methods := range apitest.Load(t).Paths() {
		if !strings.HasPrefix(path, wire.PathSimulate) {
			continue
		}
		if !slices.Equal(served[path], methods) {
			t.Errorf("%s is served for %v and documented for %v", path, served[path], methods)
		}
		delete(served, path)
	}
	if len(served) > 0 {
		t.Errorf("these are served and not documented: %v", served)
	}
}

func TestTheClockRunsAndIsMovedAhead(t *testing.T) {
	s := start(t)
	tokens, _ := s.tokens()
	var before, after wire.SimulateClock
	if err := json.Unmarshal([]byte(s.must(200, "GET", wire.PathSimulateClock, "")), &before); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(s.must(200, "POST", wire.PathSimulateClock, `{"advance":"20m"}`)),
		&after); err != nil {
		t.Fatal(err)
	}
	if moved := after.Now.Sub(before.Now); moved < 20*time.Minute || moved > 25*time.Minute {
		t.Errorf("the clock moved by %v", moved)
	}
	if status := s.status(tokens); status != 400 {
		t.Errorf("an idle session returns %d", status)
	}
	if events := s.must(200, "GET", wire.PathSimulateEvents+"?after=3&limit=1", ""); !strings.Contains(events,
		`"kind":"expired"`) {
		t.Errorf("the events say %s", events)
	}
}

func TestFaultsAreAddedListedAndCleared(t *testing.T) {
	s := start(t)
	tokens, _ := s.tokens()
	s.must(200, "POST", wire.PathSimulateFaults, `{"fault":"fail","operation":"api","status":502,"times":2}`)
	text := s.must(200, "POST", wire.PathSimulateFaults, `{"fault":"throttle","retryAfter":"7s"}`)
	if text != `{"faults":[{"fault":"fail","operation":"api","times":2,"status":502},`+
		`{"fault":"throttle","times":1,"retryAfter":"7s"}]}` {
		t.Errorf("the faults are %s", text)
	}
	if status := s.status(tokens); status != 502 {
		t.Errorf("the first request got %d", status)
	}
	if text := s.must(200, "GET", wire.PathSimulateFaults, ""); !strings.Contains(text, `"times":1,"status":502`) {
		t.Errorf("then the faults are %s", text)
	}
	s.must(204, "DELETE", wire.PathSimulateFaults, "")
	if status := s.status(tokens); status != 200 {
		t.Errorf("without faults a request got %d", status)
	}
}

func TestEachPublishedRefusalIsSimulated(t *testing.T) {
	s := start(t)
	tokens, _ := s.tokens()
	for _, form := range wire.Refusals {
		text := s.must(200, "POST", wire.PathSimulateFaults, `{"fault":"refuse-as","operation":"api","form":"`+form.Name+`"}`)
		if want := `{"faults":[{"fault":"refuse-as","operation":"api","times":1,"form":"` + form.Name + `"}]}`; text != want {
			t.Errorf("the faults are %s, want %s", text, want)
		}
		if status, text := s.do(t.Context(), s.plain, "GET", "/api/m2m/v1/devices", "", tokens...); status != form.Status ||
			text != form.Body {
			t.Errorf("%s got %d %s", form.Name, status, text)
		}
	}
	if status := s.status(tokens); status != 200 {
		t.Errorf("afterwards a request got %d", status)
	}
	for _, fault := range []string{`{"fault":"refuse-as"}`, `{"fault":"refuse-as","form":"other"}`,
		`{"fault":"throttle","form":"location"}`} {
		if status, text := s.do(t.Context(), s.plain, "POST", wire.PathSimulateFaults, fault); status != 400 ||
			!strings.Contains(text, "location") {
			t.Errorf("%s got %d %s", fault, status, text)
		}
	}
}

func TestSwitchesAreSet(t *testing.T) {
	s := start(t)
	first, _ := s.tokens()
	text := s.must(200, "PUT", wire.PathSimulateSwitches, `{"endSessionsOnLogin":true}`)
	if text != `{"endSessionsOnLogin":true,"keepSessionsOnReset":false,"strikeOnAbort":false}` {
		t.Errorf("the switches are %s", text)
	}
	s.must(200, "GET", wire.PathSimulateSwitches, "")
	second, _ := s.tokens()
	if one, other := s.status(first), s.status(second); one != 400 || other != 200 {
		t.Errorf("the sessions answer %d and %d", one, other)
	}
}

func TestUsersAndTokensAreHit(t *testing.T) {
	s := start(t)
	tokens, _ := s.tokens()
	s.must(204, "POST", wire.PathSimulateLock, `{"name":"zbeeblebrox"}`)
	if _, refusal := s.tokens(); !strings.Contains(refusal, "AccountLocked") {
		t.Errorf("a locked user got %s", refusal)
	}
	s.must(204, "POST", wire.PathSimulateUnlock, `{"name":"zbeeblebrox"}`)
	if text := s.must(200, "POST", wire.PathSimulateExpire, `{"name":"zbeeblebrox"}`); text != `{"count":1}` {
		t.Errorf("expiring returns %s", text)
	}
	if status := s.status(tokens); status != 400 {
		t.Errorf("an ended session returns %d", status)
	}
	s.must(204, "POST", wire.PathSimulateRevoke, `{"key":"demo-key"}`)
	if status := s.status(tokens); status != 401 {
		t.Errorf("a revoked bearer returns %d", status)
	}
}

func TestAResetBringsBackTheSeed(t *testing.T) {
	s := start(t)
	tokens, _ := s.tokens()
	s.must(200, "PUT", wire.PathSimulateSwitches, `{"strikeOnAbort":true}`)
	s.must(200, "POST", wire.PathSimulateFaults, `{"fault":"fail"}`)
	s.must(204, "POST", wire.PathSimulateLock, `{"name":"zbeeblebrox"}`)
	s.must(204, "POST", wire.PathSimulateReset, "")
	if status := s.status(tokens); status != 401 {
		t.Errorf("old tokens answer %d", status)
	}
	if text := s.must(200, "GET", wire.PathSimulateSwitches, ""); strings.Contains(text, "true") {
		t.Errorf("the switches are %s", text)
	}
	if _, refusal := s.tokens(); refusal != "" {
		t.Errorf("the seeded user got %s", refusal)
	}
	if events, err := s.Events(t.Context(), 0, 100); err != nil || len(events) != 3 ||
		events[2].Kind != authority.EventLogIn {
		t.Errorf("the events are %v, %v", events, err)
	}
}

func TestMistakesAreRefusedInWords(t *testing.T) {
	s := start(t)
	for _, c := range []struct {
		status             int
		method, path, body string
		words              string
	}{
		{400, "POST", wire.PathSimulateClock, `{"advance":"soon"}`, "no duration"},
		{400, "POST", wire.PathSimulateClock, `{"advance":"-1s"}`, "can be moved ahead by up to"},
		{400, "POST", wire.PathSimulateClock, `{}`, "can be moved ahead by up to"},
		{400, "POST", wire.PathSimulateClock, `{"advance":"1s"} x`, "goes on after its end"},
		{400, "POST", wire.PathSimulateFaults, `{"fault":"drop"}`, "there is no fault"},
		{400, "POST", wire.PathSimulateFaults, `{"fault":"fail","opration":"login"}`, "opration"},
		{400, "POST", wire.PathSimulateFaults, `{"fault":"delay","delay":"x"}`, "no duration"},
		{400, "POST", wire.PathSimulateFaults, `{"fault":"throttle","retryAfter":"x"}`, "no duration"},
		{400, "PUT", wire.PathSimulateSwitches, `{"endSessionsOnLogin":1}`, "not what this control takes"},
		{400, "GET", wire.PathSimulateEvents + "?after=x", "", "after is not a number"},
		{400, "GET", wire.PathSimulateEvents + "?limit=1001", "", "between 1 and 1000"},
		{400, "PUT", wire.PathSimulateClock, `{"standing":"yes"}`, "not what this control takes"},
		{400, "POST", wire.PathSimulateClock, `{"advance":"99999999999h"}`, "no duration"},
		{400, "POST", wire.PathSimulateUsers, `{"name":"","password":"x"}`, "name"},
		{400, "POST", wire.PathSimulateUsers, `{"name":"zoe","password":""}`, "the password is empty"},
		{409, "POST", wire.PathSimulateUsers, `{"name":"zbeeblebrox","password":"x"}`, "already"},
		{404, "DELETE", wire.PathSimulateUsers + "?name=nobody", "", "none of that name"},
		{400, "GET", wire.PathSimulateUsers + "?limit=0", "", "between 1 and 1000"},
		{404, "PUT", wire.PathSimulatePassword, `{"name":"nobody","password":"x"}`, "none of that name"},
		{400, "PUT", wire.PathSimulatePassword, `{"name":"zbeeblebrox","password":""}`, "the password is empty"},
		{404, "PUT", wire.PathSimulateStrikes, `{"name":"nobody","failures":1}`, "none of that name"},
		{400, "PUT", wire.PathSimulateStrikes, `{"name":"zbeeblebrox","failures":6}`, "between 0 and 5"},
		{400, "PUT", wire.PathSimulateStrikes, `{"name":"zbeeblebrox","failures":-1}`, "between 0 and 5"},
		{400, "POST", wire.PathSimulateClients, `{"key":"k","secret":""}`, "the secret is empty"},
		{409, "POST", wire.PathSimulateClients, `{"key":"demo-key","secret":"x"}`, "already"},
		{404, "DELETE", wire.PathSimulateClients + "?key=none", "", "none of that name"},
		{400, "POST", wire.PathSimulateClock, `{"advance":"` + strings.Repeat("1", 20<<10) + `"}`, "too long"},
		{404, "POST", wire.PathSimulateLock, `{"name":"nobody"}`, "none of that name"},
		{404, "POST", wire.PathSimulateRevoke, `{"key":"none"}`, "none of that name"},
	} {
		status, text := s.do(apitest.Malformed(t.Context()), s.client, c.method, c.path, c.body)
		if status != c.status || !strings.Contains(text, c.words) {
			t.Errorf("%s %s %s returned %d %s", c.method, c.path, c.body, status, text)
		}
	}
	if status, text := s.do(t.Context(), s.plain, "DELETE", wire.PathSimulateClock, ""); status != 405 {
		t.Errorf("another method returns %d %s", status, text)
	}
	if status, text := s.do(t.Context(), s.plain, "GET", wire.PathSimulate+"nothing", ""); status != 404 {
		t.Errorf("another path returns %d %s", status, text)
	}
}
