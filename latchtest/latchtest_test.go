package latchtest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/latchtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func logIn(t *testing.T, s *latchtest.Server) latchkey.Secret {
	t.Helper()
	token, err := s.Client.LogIn(t.Context(), latchtest.User, latchtest.Password)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// get sends a GET and returns the body, and what went wrong by the client's own
// judgement.
func get(t *testing.T, s *latchtest.Server, path string, token latchkey.Secret) (string, error) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := s.Client.Do(request, token)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return "", err
	}
	if response.StatusCode == http.StatusOK {
		return string(body), nil
	}
	response.Body = io.NopCloser(bytes.NewReader(body))
	return string(body), latchkey.CheckResponse(response, token)
}

func want(t *testing.T, what string, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Errorf("%s: %v; want %v", what, err, target)
	}
}

func TestAServiceIsReadyAndItsEventsTellWhatHappened(t *testing.T) {
	s := latchtest.NewServer(t)
	token := logIn(t, s)
	if err := s.Client.LogOut(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	_, err := s.Client.LogIn(t.Context(), latchtest.User, "wrong")
	want(t, "a wrong password", err, latchkey.ErrInvalidCredentials)
	var kinds []latchtest.EventKind
	for _, event := range s.Events()[2:] {
		kinds = append(kinds, event.Kind)
		if event.User != latchtest.User || event.Client != latchtest.APIKey || !event.At.Equal(s.Now()) {
			t.Errorf("an event says %+v", event)
		}
	}
	if !slices.Equal(kinds, []latchtest.EventKind{latchtest.EventLogIn, latchtest.EventLogOut,
		latchtest.EventLogInFailed}) {
		t.Errorf("the events are %v", kinds)
	}
	if failures, locked := s.Strikes(latchtest.User); failures != 1 || locked {
		t.Errorf("%d strikes, locked: %v", failures, locked)
	}
}

func TestServicesKnowNothingOfEachOther(t *testing.T) {
	one, other := latchtest.NewServer(t), latchtest.NewServer(t)
	token := logIn(t, one)
	if n := other.Count(latchtest.EventLogIn); n != 0 {
		t.Errorf("the other service counts %d logins", n)
	}
	_, err := get(t, other, "/api/m2m/v1/devices", token)
	want(t, "a token of another service", err, latchkey.ErrSessionExpired)
}

func TestTimeMovesOnlyWhenItIsMoved(t *testing.T) {
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	s := latchtest.NewServer(t, latchtest.At(start))
	token := logIn(t, s)
	s.Advance(19 * time.Minute)
	if _, err := get(t, s, "/latchkey/v1/session", token); err != nil {
		t.Errorf("after 19 minutes: %v", err)
	}
	s.Advance(20 * time.Minute)
	if n := s.Count(latchtest.EventExpired); n != 1 {
		t.Errorf("%d sessions have expired, not one", n)
	}
	_, err := get(t, s, "/latchkey/v1/session", token)
	want(t, "after 20 minutes without use", err, latchkey.ErrSessionExpired)
	if !s.Now().Equal(start.Add(39 * time.Minute)) {
		t.Errorf("it is %v", s.Now())
	}
	s.Advance(time.Hour) // the client's access token is over, and it knows
	logIn(t, s)
}

func TestTheRestOfTheAPIEchoesWithTwoLiveTokens(t *testing.T) {
	s := latchtest.NewServer(t)
	token := logIn(t, s)
	body, err := get(t, s, "/api/m2m/v1/accounts/0000123456-00001?x=1", token)
	if err != nil {
		t.Fatal(err)
	}
	var echo map[string]string
	if err := json.Unmarshal([]byte(body), &echo); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(echo); got != "map[method:GET path:/api/m2m/v1/accounts/0000123456-00001 user:zbeeblebrox]" {
		t.Errorf("the echo says %s", got)
	}
	_, err = get(t, s, "/api/m2m/v1/devices", "")
	want(t, "without a session token", err, latchkey.ErrSessionTokenMissing)
	_, err = get(t, s, "/api/m2m/v1/devices", "bcce3ea6-fe4f-4952-bacf-eadd80718e83")
	want(t, "with another's", err, latchkey.ErrSessionExpired)
	if _, err = get(t, s, "/elsewhere", token); err == nil {
		t.Error("a path that is not below /api/ got a response")
	}
	_, err = get(t, s, "/latchkey/v1/simulate/clock", token)
	var fault *latchkey.FaultError
	if !errors.As(err, &fault) || fault.StatusCode != http.StatusNotFound {
		t.Errorf("the controls for other languages answer %v in a Go test", err)
	}
}

func TestAccountsAreAddedAndChangedBehindTheProgramsBack(t *testing.T) {
	s := latchtest.NewServer(t)
	s.AddUser("trillian", "Earth42")
	client := s.AddClient("other-key", "other-secret")
	token, err := client.LogIn(t.Context(), "trillian", "Earth42")
	if err != nil {
		t.Fatal(err)
	}
	s.SetPassword("trillian", "Magrathea7")
	_, err = get(t, s, "/api/m2m/v1/devices", token)
	want(t, "a session of the old password", err, latchkey.ErrSessionExpired)
	_, err = client.LogIn(t.Context(), "trillian", "Earth42")
	want(t, "the old password", err, latchkey.ErrInvalidCredentials)

	s.LockUser("trillian")
	_, err = client.LogIn(t.Context(), "trillian", "Magrathea7")
	want(t, "a locked user", err, latchkey.ErrAccountLocked)
	s.UnlockUser("trillian")
	for range 2 {
		if _, err := client.LogIn(t.Context(), "trillian", "Magrathea7"); err != nil {
			t.Fatal(err)
		}
	}
	if n := s.ExpireSessions("trillian"); n != 2 {
		t.Errorf("%d sessions were ended, not 2", n)
	}
	s.RevokeBearer("other-key")
	_, err = client.LogIn(t.Context(), "trillian", "Magrathea7")
	want(t, "a revoked bearer", err, latchkey.ErrUnauthorized)
	if _, err := client.LogIn(t.Context(), "trillian", "Magrathea7"); err != nil {
		t.Errorf("the next bearer: %v", err)
	}
}

func TestSwitchesDecideWhatALoginEnds(t *testing.T) {
	s := latchtest.NewServer(t, latchtest.With(latchtest.Switches{EndSessionsOnLogin: true}))
	first := logIn(t, s)
	second := logIn(t, s)
	_, err := get(t, s, "/api/m2m/v1/devices", first)
	want(t, "the first session", err, latchkey.ErrSessionExpired)
	s.SetSwitches(latchtest.Switches{})
	logIn(t, s)
	if _, err := get(t, s, "/api/m2m/v1/devices", second); err != nil {
		t.Errorf("with the switch off again, the second session: %v", err)
	}
}

func TestSwitchesDecideWhatAResetEnds(t *testing.T) {
	for _, keep := range []bool{false, true} {
		s := latchtest.NewServer(t, latchtest.With(latchtest.Switches{KeepSessionsOnReset: keep}))
		resetting, other := logIn(t, s), logIn(t, s)
		_, err := s.Client.SessionManagement.ResetConnectivityManagementPassword(t.Context(), resetting,
			&latchkey.SessionResetPasswordRequest{OldPassword: latchtest.Password})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := get(t, s, "/api/m2m/v1/devices", other); (err == nil) != keep {
			t.Errorf("keep %v: the other session got %v", keep, err)
		}
	}
}

func TestSwitchesDecideWhetherAnAbortedLoginIsAStrike(t *testing.T) {
	for _, counts := range []bool{false, true} {
		s := latchtest.NewServer(t, latchtest.With(latchtest.Switches{StrikeOnAbort: counts}))
		wanted := 0
		if counts {
			wanted = 1
		}
		s.Inject(latchtest.LogIn, latchtest.DropBefore(), 1)
		if _, err := s.Client.LogIn(t.Context(), latchtest.User, latchtest.Password); err == nil {
			t.Error("a login that was cut off succeeded")
		}
		if failures, _ := s.Strikes(latchtest.User); failures != wanted {
			t.Errorf("counts %v: %d strikes after a login that was cut off", counts, failures)
		}
		if n := s.Count(latchtest.EventLogIn); n != 0 {
			t.Errorf("counts %v: %d logins", counts, n)
		}
	}
}

// Refused logins are folded; what a test counts are logins.
func TestEachRefusedLoginIsCounted(t *testing.T) {
	s := latchtest.NewServer(t)
	s.LockUser(latchtest.User)
	for range 7 {
		_, err := s.Client.LogIn(t.Context(), latchtest.User, latchtest.Password)
		want(t, "a login of a locked user", err, latchkey.ErrAccountLocked)
	}
	s.UnlockUser(latchtest.User)
	logIn(t, s)
	if n := s.Count(latchtest.EventLogInRefused); n != 7 {
		t.Errorf("%d refused logins are counted, want 7", n)
	}
	if events := s.Events(); events[len(events)-1].Kind != latchtest.EventLogIn ||
		events[len(events)-2].Kind != latchtest.EventUnlocked {
		t.Errorf("the events are not in order: %+v", events)
	}
}

// told is a T that remembers how it failed.
type told struct {
	*testing.T
	failure string
}

func (f *told) Fatalf(format string, args ...any) { f.failure = fmt.Sprintf(format, args...) }

func TestAMisuseFailsTheTestWithAMessage(t *testing.T) {
	f := &told{T: t}
	s := latchtest.NewServer(f)
	for words, mistake := range map[string]func(){
		`add the user "zbeeblebrox": exists already`:     func() { s.AddUser(latchtest.User, "x") },
		`lock the user "nobody": does not exist`:         func() { s.LockUser("nobody") },
		"the clock can be moved ahead by up to":          func() { s.Advance(-time.Second) },
		`there is no operation "logn"`:                   func() { s.Inject("logn", latchtest.DropAfter(), 1) },
		"0 times is not at least once":                   func() { s.Inject(latchtest.LogIn, latchtest.DropAfter(), 0) },
		"the status 404 does not go with the fault fail": func() { s.Inject(latchtest.LogIn, latchtest.Fail(404), 1) },
		"those of the operation token have none": func() {
			s.Inject(latchtest.GetToken, latchtest.LockUser(),
				1)
		},
		"a delay of -1s does not go with the fault delay": func() {
			s.Inject(latchtest.Any, latchtest.Delay(-time.Second),
				1)
		},
		`revoke the access token of "nobody": does not exist`: func() { s.RevokeBearer("nobody") },
	} {
		f.failure = ""
		mistake()
		if !strings.HasPrefix(f.failure, "latchtest: ") || !strings.Contains(f.failure, words) {
			t.Errorf("the failure is %q, which lacks %q", f.failure, words)
		}
	}
}

func TestManyTestsUseOneServiceAtOnce(t *testing.T) {
	s := latchtest.NewServer(t)
	done := make(chan error)
	for range 8 {
		go func() {
			ctx := context.Background()
			token, err := s.Client.LogIn(ctx, latchtest.User, latchtest.Password)
			if err == nil {
				err = s.Client.LogOut(ctx, token)
			}
			done <- err
		}()
	}
	for range 8 {
		s.SetSwitches(latchtest.Switches{KeepSessionsOnReset: true})
		s.Advance(time.Second)
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if n := s.Count(latchtest.EventLogIn); n != 8 {
		t.Errorf("%d logins, not 8", n)
	}
}
