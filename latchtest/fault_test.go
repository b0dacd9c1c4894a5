package latchtest_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/internal/wire"
	"github.com/latchkey/latchkey/latchtest"
)

// maybeSent wants an error that says that the request may have been executed.
func maybeSent(t *testing.T, what string, err error) {
	t.Helper()
	var transport *latchkey.TransportError
	if !errors.As(err, &transport) || !transport.MaybeSent || errors.Is(err, latchkey.ErrNotSent) {
		t.Errorf("%s: %v; want a TransportError that leaves it open", what, err)
	}
}

// TestTheClientSurvivesEachFaultOfALogin holds the client to the right error
// under each fault, and to its next login's success.
func TestTheClientSurvivesEachFaultOfALogin(t *testing.T) {
	fault := func(t *testing.T, err error, status int) *latchkey.FaultError {
		t.Helper()
		var f *latchkey.FaultError
		if !errors.As(err, &f) || f.StatusCode != status {
			t.Fatalf("%v; want a FaultError of status %d", err, status)
		}
		return f
	}
	for name, c := range map[string]struct {
		fault  latchtest.Fault
		check  func(t *testing.T, err error)
		logins int // that the service executed
		undo   func(*latchtest.Server)
	}{
		"DropAfter": {fault: latchtest.DropAfter(), logins: 1, check: func(t *testing.T, err error) {
			maybeSent(t,
				"the login", err)
		}},
		"DropBefore": {fault: latchtest.DropBefore(), check: func(t *testing.T, err error) {
			maybeSent(t, "the login",
				err)
		}},
		"Fail 500": {fault: latchtest.Fail(500), check: func(t *testing.T, err error) {
			want(t, "the login", err,
				latchkey.ErrUnexpected)
		}},
		"Fail 503": {fault: latchtest.Fail(503), check: func(t *testing.T, err error) {
			want(t, "the login", err, latchkey.ErrUnavailable)
			_ = fault(t, err, 503)
		}},
		"Fail 504": {fault: latchtest.Fail(504), check: func(t *testing.T, err error) { _ = fault(t, err, 504) }},
		"Throttle": {fault: latchtest.Throttle(7 * time.Second), check: func(t *testing.T, err error) {
			want(t, "the login", err, latchkey.ErrThrottled)
			if f := fault(t, err, 429); f.RetryAfter != 7*time.Second {
				t.Errorf("try again after %v", f.RetryAfter)
			}
		}},
		"ForbidXML": {fault: latchtest.ForbidXML(), check: func(t *testing.T, err error) {
			if f := fault(t, err, 403); f.Code != "900908" {
				t.Errorf("the code is %q", f.Code)
			}
		}},
		"LockUser": {fault: latchtest.LockUser(), check: func(t *testing.T, err error) {
			want(t, "the login", err,
				latchkey.ErrAccountLocked)
		},
			undo: func(s *latchtest.Server) { s.UnlockUser(latchtest.User) }},
		"RevokeBearer": {fault: latchtest.RevokeBearer(), check: func(t *testing.T, err error) {
			want(t, "the login", err,
				latchkey.ErrUnauthorized)
		}},
		"ExpireSessions": {fault: latchtest.ExpireSessions(), logins: 1, check: func(t *testing.T, err error) {
			want(t,
				"the login", err, nil)
		}},
		"Delay": {fault: latchtest.Delay(time.Millisecond), logins: 1, check: func(t *testing.T, err error) {
			want(t,
				"the login", err, nil)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s := latchtest.NewServer(t)
			s.Inject(latchtest.LogIn, c.fault, 1)
			_, err := s.Client.LogIn(t.Context(), latchtest.User, latchtest.Password)
			c.check(t, err)
			if n := s.Count(latchtest.EventLogIn); n != c.logins {
				t.Errorf("%d logins were executed, not %d", n, c.logins)
			}
			if left := s.FaultsLeft(); left != 0 {
				t.Errorf("the fault is still to come %d times", left)
			}
			if c.undo != nil {
				c.undo(s)
			}
			if failures, _ := s.Strikes(latchtest.User); failures != 0 {
				t.Errorf("it cost %d strikes", failures)
			}
			logIn(t, s)
		})
	}
}

func TestARequestUnderWayMeetsTheFaultsOfItsTokens(t *testing.T) {
	s := latchtest.NewServer(t)
	token := logIn(t, s)
	s.Inject(latchtest.API, latchtest.RevokeBearer(), 1)
	_, err := get(t, s, "/api/m2m/v1/devices", token)
	want(t, "a revoked bearer", err, latchkey.ErrUnauthorized)
	bearer, err := s.Client.AccessToken(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.Client.InvalidateAccessToken(bearer.Token)
	if _, err := get(t, s, "/api/m2m/v1/devices", token); err != nil {
		t.Errorf("the session with the next bearer: %v", err)
	}
	s.Inject(latchtest.API, latchtest.LockUser(), 1)
	if _, err := get(t, s, "/api/m2m/v1/devices", token); err != nil {
		t.Errorf("a live session of a user who is locked: %v", err)
	}
	if _, locked := s.Strikes(latchtest.User); !locked {
		t.Error("the user is not locked")
	}
	s.Inject(latchtest.API, latchtest.ExpireSessions(), 1)
	_, err = get(t, s, "/api/m2m/v1/devices", token)
	want(t, "an expired session", err, latchkey.ErrSessionExpired)
}

func TestAResetWhoseAnswerIsLostHappened(t *testing.T) {
	s := latchtest.NewServer(t)
	token := logIn(t, s)
	s.Inject(latchtest.Reset, latchtest.DropAfter(), 1)
	_, err := s.Client.SessionManagement.ResetConnectivityManagementPassword(t.Context(), token,
		&latchkey.SessionResetPasswordRequest{OldPassword: latchtest.Password})
	maybeSent(t, "the reset", err)
	if n := s.Count(latchtest.EventReset); n != 1 {
		t.Errorf("%d resets happened", n)
	}
	_, err = s.Client.LogIn(t.Context(), latchtest.User, latchtest.Password)
	want(t, "the old password", err, latchkey.ErrInvalidCredentials)
}

func TestAFaultOfTheTokenEndpointKeepsALoginFromBeingSent(t *testing.T) {
	s := latchtest.NewServer(t)
	s.Inject(latchtest.GetToken, latchtest.Fail(503), 1)
	_, err := s.Client.LogIn(t.Context(), latchtest.User, latchtest.Password)
	want(t, "the login", err, latchkey.ErrNotSent)
	want(t, "the login", err, latchkey.ErrUnavailable)
	logIn(t, s)
}

func TestADelayLastsUntilTheCallerLeaves(t *testing.T) {
	for _, counts := range []bool{false, true} {
		s := latchtest.NewServer(t, latchtest.With(latchtest.Switches{StrikeOnAbort: counts}))
		if _, err := s.Client.AccessToken(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.Inject(latchtest.LogIn, latchtest.Delay(0), 1)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		_, err := s.Client.LogIn(ctx, latchtest.User, latchtest.Password)
		cancel()
		maybeSent(t, "the login", err)
		want(t, "the login", err, context.DeadlineExceeded)
		// The service notices a moment later that the caller has left.
		strikes, logins := 0, 0
		for deadline := time.Now().Add(time.Minute); strikes+logins == 0 &&
			time.Now().Before(deadline); <-time.After(5 * time.Millisecond) {
			strikes, _ = s.Strikes(latchtest.User)
			logins = s.Count(latchtest.EventLogIn)
		}
		if counts && (strikes != 1 || logins != 0) || !counts && (strikes != 0 || logins != 1) {
			t.Errorf("counts %v: %d strikes and %d logins", counts, strikes, logins)
		}
	}
}

// A client that gave up does not know that its request happened.
func TestADelayedRequestHappensAlthoughItsCallerLeft(t *testing.T) {
	const requests = 16
	s := latchtest.NewServer(t)
	token := logIn(t, s)
	// leave has a request meet the fault, then leaves, and waits until it happened.
	leave := func(operation latchtest.Operation, request func(context.Context) error, happened func() bool) {
		t.Helper()
		s.Inject(operation, latchtest.Delay(0), 1)
		ctx, cancel := context.WithCancel(t.Context())
		left := make(chan error, 1)
		go func() { left <- request(ctx) }()
		deadline := time.Now().Add(time.Minute)
		for s.FaultsLeft() > 0 && time.Now().Before(deadline) {
			runtime.Gosched()
		}
		cancel()
		maybeSent(t, "the request", <-left)
		for ; !happened(); <-time.After(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("the %s did not happen", operation)
			}
		}
	}
	for i := range requests {
		leave(latchtest.LogIn, func(ctx context.Context) error {
			_, err := s.Client.LogIn(ctx, latchtest.User, latchtest.Password)
			return err
		}, func() bool { return s.Count(latchtest.EventLogIn) == i+2 })
	}
	second := logIn(t, s)
	leave(latchtest.LogOut, func(ctx context.Context) error { return s.Client.LogOut(ctx, second) },
		func() bool { return s.Count(latchtest.EventLogOut) == 1 })
	s.Inject(latchtest.LogOut, latchtest.DropAfter(), 1)
	if err := s.Client.LogOut(t.Context(), token); err == nil {
		t.Error("the logout got a response")
	}
	if n := s.Count(latchtest.EventLogOut); n != 2 {
		t.Errorf("%d logouts happened", n)
	}
}

// A client may leave between the header and the body of its request.
func TestARequestWithoutItsBodyMeetsNoFault(t *testing.T) {
	s := latchtest.NewServer(t)
	bearer, err := s.Client.AccessToken(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.Inject(latchtest.LogIn, latchtest.Fail(503), 1)
	address, err := net.ResolveTCPAddr("tcp", strings.TrimPrefix(s.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.DialTCP("tcp", nil, address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_, err = io.WriteString(conn, "POST "+wire.PathLogIn+" HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer "+
		bearer.Token.Reveal()+"\r\nContent-Type: application/json\r\nContent-Length: 45\r\n\r\n{")
	if err == nil {
		err = conn.CloseWrite()
	}
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusBadRequest || s.FaultsLeft() != 1 {
		t.Errorf("the response is %d, and %d faults are left", response.StatusCode, s.FaultsLeft())
	}
}

func TestTheEndOfATestEndsDelays(t *testing.T) {
	left := make(chan struct{})
	t.Run("with a request under way", func(t *testing.T) {
		s := latchtest.NewServer(t)
		s.Inject(latchtest.GetToken, latchtest.Delay(0), 1)
		go func() {
			defer close(left)
			_, _ = s.Client.AccessToken(context.Background()) // it gets a response or is cut off, but not delayed
		}()
		for s.FaultsLeft() > 0 { // until the request has met it
			select {
			case <-left:
				t.Fatal("the request ended without meeting the fault")
			default:
				runtime.Gosched()
			}
		}
	})
	<-left
}

func TestFaultsHappenInTheirOrderAndAsOftenAsAsked(t *testing.T) {
	s := latchtest.NewServer(t)
	token := logIn(t, s)
	s.Inject(latchtest.API, latchtest.Fail(500), 2)
	s.Inject(latchtest.Any, latchtest.Fail(502), 1)
	s.Inject(latchtest.LogOut, latchtest.Fail(504), 1)
	var seen []int
	for range 4 {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "/api/m2m/v1/devices/actions/list", nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := s.Client.Do(request, token)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		seen = append(seen, response.StatusCode)
	}
	for i, status := range []int{500, 500, 502, 200} {
		if seen[i] != status {
			t.Errorf("request %d got %d, not %d", i, seen[i], status)
		}
	}
	if left := s.FaultsLeft(); left != 1 {
		t.Errorf("%d faults were still to come", left)
	}
	s.ClearFaults()
	if err := s.Client.LogOut(t.Context(), token); err != nil {
		t.Errorf("a fault that was cleared happened: %v", err)
	}
}

// TestAResetWhoseAnswerIsLostIsRepeatedByItsKey loses the answer to a reset, or
// the request itself, and has the password by the same key all the same.
func TestAResetWhoseAnswerIsLostIsRepeatedByItsKey(t *testing.T) {
	for name, fault := range map[string]latchtest.Fault{"DropAfter": latchtest.DropAfter(),
		"DropBefore": latchtest.DropBefore()} {
		t.Run(name, func(t *testing.T) {
			s := latchtest.NewServer(t)
			session, err := s.Client.LogIn(t.Context(), latchtest.User, latchtest.Password)
			want(t, "the login", err, nil)
			s.Inject(latchtest.Reset, fault, 1)
			reset := func() (latchkey.Secret, error) {
				answer, err := s.Client.SessionManagement.ResetConnectivityManagementPassword(t.Context(), session,
					&latchkey.SessionResetPasswordRequest{OldPassword: latchtest.Password, IdempotencyKey: "5f0c1f0e-7b8b"})
				if err != nil {
					return "", err
				}
				return answer.Data.NewPassword, nil
			}
			_, err = reset()
			maybeSent(t, "the reset", err)
			var lost *latchkey.TransportError
			if !errors.As(err, &lost) || !strings.Contains(lost.Hint(), "repeat the reset with the same key") {
				t.Errorf("the error does not say what to do: %v", err)
			}
			made, err := reset()
			want(t, "the repeat", err, nil)
			again, err := reset()
			want(t, "another repeat", err, nil)
			if !again.Equal(made) {
				t.Error("the repeats told two passwords")
			}
			_, err = s.Client.LogIn(t.Context(), latchtest.User, made)
			want(t, "a login with the new password", err, nil)
			if failures, locked := s.Strikes(latchtest.User); failures != 0 || locked {
				t.Errorf("%d strikes, locked: %v", failures, locked)
			}
			if n := s.Count(latchtest.EventReset); n != 1 {
				t.Errorf("%d resets were made, want one", n)
			}
		})
	}
}

// Programs meet the forms of refusals that are rare, and the client knows each.
func TestRefusalsInPublishedForms(t *testing.T) {
	s := latchtest.NewServer(t)
	token := logIn(t, s)
	for form, target := range map[latchtest.Refusal]error{
		latchtest.SessionExpired: latchkey.ErrSessionExpired, latchtest.SessionInvalid: latchkey.ErrSessionTokenInvalid,
		latchtest.SessionMissing: latchkey.ErrSessionTokenMissing, latchtest.LocationRefusal: latchkey.ErrSessionExpired,
		latchtest.DiagnosticsRefusal: latchkey.ErrUnauthorized, latchtest.HyperPreciseRefusal: latchkey.ErrUnauthorized,
		latchtest.NumericRefusal: latchkey.ErrUnauthorized, latchtest.ETXRefusal: latchkey.ErrUnauthorized,
		latchtest.EdgeRefusal: latchkey.ErrUnauthorized, latchtest.CloudConnectorSession: latchkey.ErrSessionExpired,
		latchtest.CloudConnectorBearer:        latchkey.ErrUnauthorized,
		latchtest.CloudConnectorBearerFailure: latchkey.ErrUnauthorized,
		latchtest.BearerInvalid:               latchkey.ErrUnauthorized, latchtest.BearerMissing: latchkey.ErrUnauthorized,
		latchtest.BearerExpired: latchkey.ErrUnauthorized, latchtest.BearerInactive: latchkey.ErrUnauthorized,
		latchtest.Throttled: latchkey.ErrThrottled, latchtest.Blocked: latchkey.ErrBlocked,
		latchtest.NoResource: latchkey.ErrNoSuchResource,
	} {
		s.Inject(latchtest.API, latchtest.RefuseAs(form), 1)
		_, err := get(t, s, "/api/m2m/v1/devices", token)
		want(t, string(form), err, target)
	}
	if _, err := get(t, s, "/api/m2m/v1/devices", token); err != nil {
		t.Errorf("the tokens are not good any more: %v", err)
	}
	if n := s.Count(latchtest.EventLogIn); n != 1 {
		t.Errorf("%d logins", n)
	}
}
