package simulate_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/wire"
)

// logIn logs in as a user and returns the response.
func (s *service) logIn(bearer, user, password string) string {
	s.t.Helper()
	_, text := s.do(s.t.Context(), s.plain, "POST", wire.PathLogIn, `{"username":"`+user+`","password":"`+password+`"}`,
		"Authorization", bearer)
	return text
}

func TestUsersPasswordsAndStrikesAreSet(t *testing.T) {
	s := start(t)
	tokens, _ := s.tokens()
	s.must(204, "POST", wire.PathSimulateUsers, `{"name":"zoe","password":"x"}`)
	if text := s.logIn(tokens[1], "zoe", "x"); !strings.Contains(text, "sessionToken") {
		t.Errorf("the new user got %s", text)
	}
	s.must(204, "PUT", wire.PathSimulatePassword, `{"name":"zoe","password":"y"}`)
	if text := s.logIn(tokens[1], "zoe", "x"); !strings.Contains(text, "InvalidCredentials") {
		t.Errorf("the old password got %s", text)
	}
	s.must(204, "PUT", wire.PathSimulateStrikes, `{"name":"zoe","failures":4}`)
	if text := s.must(200, "GET", wire.PathSimulateUsers+"?after=y&limit=10", ""); !strings.Contains(text,
		`"name":"zoe","disabled":false,"failures":4,"passwordChangedAt"`) || strings.Contains(text, "next") {
		t.Errorf("the users are %s", text)
	}
	if text := s.must(200, "GET", wire.PathSimulateUsers+"?limit=1", ""); !strings.Contains(text, `"next":"zbeeblebrox"`) {
		t.Errorf("the first user is %s", text)
	}
	if text := s.logIn(tokens[1], "zoe", "x"); !strings.Contains(text, "InvalidCredentials") {
		t.Errorf("the fifth failure got %s", text)
	}
	if text := s.logIn(tokens[1], "zoe", "y"); !strings.Contains(text, "AccountLocked") {
		t.Errorf("after it the right password got %s", text)
	}
	s.must(204, "PUT", wire.PathSimulateStrikes, `{"name":"zoe","failures":0}`)
	if text := s.logIn(tokens[1], "zoe", "y"); !strings.Contains(text, "sessionToken") {
		t.Errorf("without strikes the right password got %s", text)
	}
	s.must(204, "PUT", wire.PathSimulateStrikes, `{"name":"zoe","failures":5}`)
	if text := s.must(200, "GET", wire.PathSimulateUsers+"?after=y", ""); !strings.Contains(text,
		`"failures":5,"lockedAt":`) {
		t.Errorf("after five strikes the users are %s", text)
	}
	s.must(204, "DELETE", wire.PathSimulateUsers+"?name=zoe", "")
	if text := s.must(200, "GET", wire.PathSimulateUsers, ""); strings.Contains(text, "zoe") {
		t.Errorf("the users are %s", text)
	}
	s.must(204, "POST", wire.PathSimulateReset, "")
	if text := s.must(200, "GET", wire.PathSimulateUsers, ""); strings.Count(text, `"name"`) != 1 {
		t.Errorf("after a reset the users are %s", text)
	}
}

func TestClientsAreAddedAndEnded(t *testing.T) {
	s := start(t)
	s.must(204, "POST", wire.PathSimulateClients, `{"key":"second","secret":"s"}`)
	if text := s.must(200, "GET", wire.PathSimulateClients, ""); !strings.Contains(text,
		`"key":"second","label":"simulation","revoked":false`) || strings.Contains(text, "secret") {
		t.Errorf("the clients are %s", text)
	}
	get := func() int {
		status, _ := s.do(t.Context(), s.plain, "POST", wire.PathToken, "grant_type=client_credentials",
			"Authorization", "Basic c2Vjb25kOnM=", "Content-Type", wire.MediaTypeForm)
		return status
	}
	if status := get(); status != 200 {
		t.Errorf("the second client gets %d", status)
	}
	s.must(204, "DELETE", wire.PathSimulateClients+"?key=second", "")
	if status := get(); status != 401 {
		t.Errorf("the ended client gets %d", status)
	}
}

func (s *service) clock(method, body string) (c wire.SimulateClock) {
	s.t.Helper()
	if err := json.Unmarshal([]byte(s.must(200, method, wire.PathSimulateClock, body)), &c); err != nil {
		s.t.Fatal(err)
	}
	return c
}

func TestTheClockStandsStillAndGoesOn(t *testing.T) {
	s := start(t)
	if c := s.clock("GET", ""); c.Standing {
		t.Errorf("the clock stands: %+v", c)
	}
	first := s.clock("PUT", `{"standing":true}`)
	second := s.clock("PUT", `{"standing":true}`)
	if !first.Standing || !first.Now.Equal(second.Now) {
		t.Errorf("it shows %v, then %v", first.Now, second.Now)
	}
	third := s.clock("POST", `{"advance":"19m59s"}`)
	if moved := third.Now.Sub(first.Now); moved != 19*time.Minute+59*time.Second || !third.Standing {
		t.Errorf("it moved by %v", moved)
	}
	on := s.clock("PUT", `{"standing":false}`)
	if on.Standing || on.Now.Before(third.Now) || on.Now.After(third.Now.Add(time.Minute)) {
		t.Errorf("it goes on at %v from %v", on.Now, third.Now)
	}
	later := s.clock("GET", "")
	if !later.Now.After(on.Now) {
		t.Errorf("it does not go on: %v, %v", on.Now, later.Now)
	}
}

func TestTheClockIsBounded(t *testing.T) {
	for _, standing := range []string{"false", "true"} {
		s := start(t)
		s.clock("PUT", `{"standing":`+standing+`}`)
		before := s.clock("GET", "")
		for range 10 {
			s.clock("POST", `{"advance":"87600h"}`)
		}
		far := s.clock("GET", "")
		if years := far.Now.Year() - before.Now.Year(); years < 99 || years > 101 {
			t.Errorf("the clock moved by %d years", years)
		}
		for _, step := range []string{"87600h", "1ns"} {
			if status, text := s.do(t.Context(), s.client, "POST", wire.PathSimulateClock,
				`{"advance":"`+step+`"}`); status != 400 || !strings.Contains(text, "out of bounds") {
				t.Errorf("%s more got %d %s", step, status, text)
			}
		}
		if now := s.clock("GET", ""); now.Now.Before(far.Now) || now.Now.After(far.Now.Add(time.Minute)) {
			t.Errorf("the clock went from %v to %v", far.Now, now.Now)
		}
		if tokens, refusal := s.tokens(); tokens == nil || s.status(tokens) != 200 {
			t.Errorf("a hundred years later a login got %s", refusal)
		}
	}
}
