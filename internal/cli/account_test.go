package cli_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/internal/wire"
)

// strikes is the number of failures that locks an account.
const strikes = 5

// fate is the known state of a session.
type fate int

const (
	alive  fate = iota
	ending      // a logout was sent, and no response came
	ended
)

// account is what the only client of a user knows about it.
type account struct {
	name     string
	password latchkey.Secret
	former   latchkey.Secret // before the last acknowledged reset; "" if there was none
	inDoubt  bool            // a reset had no response: the password is this one, or an unknown one
	failures []int           // the possible numbers of failures in a row
	sessions map[latchkey.Secret]fate
}

// isUnanswered reports whether the outcome of a request is unknown.
func isUnanswered(err error) bool {
	var lost *latchkey.TransportError
	var half *latchkey.ResponseError
	return errors.As(err, &lost) || errors.As(err, &half)
}

// step does one random operation. An operation without a response stays recorded as such.
func (a *account) step(ctx context.Context, api *latchkey.Client) error {
	token, some := a.any(alive)
	switch n := rand.IntN(10); {
	case !some || n < 3 && len(a.sessions) < 20:
		return a.logIn(ctx, api, a.password)
	case n < 4:
		return a.logIn(ctx, api, "a wrong one")
	case n < 6:
		a.sessions[token] = ending
		if err := api.LogOut(ctx, token); err != nil {
			return fmt.Errorf("the logout of a live session: %w", err)
		}
		a.sessions[token] = ended
		return nil
	case n < 8:
		return a.reset(ctx, api, token)
	}
	if token, some = a.any(ended); !some || rand.IntN(2) == 0 {
		token, _ = a.any(alive)
	}
	return a.check(ctx, api, token)
}

// any returns a session with the wanted fate.
func (a *account) any(want fate) (latchkey.Secret, bool) {
	for token, fate := range a.sessions {
		if fate == want {
			return token, true
		}
	}
	return "", false
}

// logIn logs in and checks the result against what is known.
func (a *account) logIn(ctx context.Context, api *latchkey.Client, password latchkey.Secret) error {
	before, after := a.failures[0], 0
	locked, right := before == strikes, password.Equal(a.password)
	if !right {
		after = before + 1
	}
	if !locked {
		a.failures = []int{before, after}
	}
	token, err := api.LogIn(ctx, a.name, password)
	switch {
	case isUnanswered(err):
		return err
	case locked && errors.Is(err, latchkey.ErrAccountLocked):
		return nil
	case !locked && !right && errors.Is(err, latchkey.ErrInvalidCredentials):
	case !locked && right && err == nil:
		a.sessions[token] = alive
	default:
		return fmt.Errorf("a login after %d failures, with the right password: %v, returned %w", before, right, errOr(err))
	}
	a.failures = []int{after}
	return nil
}

// reset changes the password, which ends all other sessions.
func (a *account) reset(ctx context.Context, api *latchkey.Client, token latchkey.Secret) error {
	before := a.failures[0]
	locked := before == strikes
	if !locked {
		a.failures, a.inDoubt = []int{before, 0}, true
		a.others(token, alive, ending)
	}
	answer, err := api.SessionManagement.ResetConnectivityManagementPassword(ctx, token,
		&latchkey.SessionResetPasswordRequest{OldPassword: a.password})
	switch {
	case isUnanswered(err):
		return err
	case locked && errors.Is(err, latchkey.ErrAccountLocked):
		return nil
	case locked || err != nil:
		return fmt.Errorf("a reset after %d failures returned %w", before, errOr(err))
	}
	a.changed(answer.Data.NewPassword, token)
	a.failures, a.inDoubt = []int{0}, false
	return nil
}

// changed records a new password, which has ended all sessions but one.
func (a *account) changed(password, keep latchkey.Secret) {
	a.former, a.password = a.password, password
	a.others(keep, alive, ended)
	a.others(keep, ending, ended)
}

// others changes the fate of all sessions except keep from one to another.
func (a *account) others(keep latchkey.Secret, from, to fate) {
	for token, fate := range a.sessions {
		if fate == from && token != keep {
			a.sessions[token] = to
		}
	}
}

// check uses a session and returns an error if its state is not the expected one.
func (a *account) check(ctx context.Context, api *latchkey.Client, token latchkey.Secret) error {
	err := useSession(ctx, api, token)
	if isUnanswered(err) {
		return err
	}
	switch fate := a.sessions[token]; {
	case fate == ending:
		delete(a.sessions, token) // either outcome is correct
		return nil
	case fate == alive && err == nil, fate == ended && errors.Is(err, latchkey.ErrSessionExpired):
		return nil
	case fate == alive:
		return fmt.Errorf("a session of %s was acknowledged and is lost: %w", a.name, err)
	}
	return fmt.Errorf("a session of %s was ended, and its use returns: %w", a.name, errOr(err))
}

// useSession queries a session, which counts as a use of it.
func useSession(ctx context.Context, api *latchkey.Client, token latchkey.Secret) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, wire.PathSession, nil)
	if err != nil {
		return err
	}
	response, err := api.Do(request, token)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return &latchkey.TransportError{Err: err}
	}
	response.Body = io.NopCloser(bytes.NewReader(body))
	return latchkey.CheckResponse(response)
}

// checkSessions checks all sessions after a crash, and drops some of the ended ones.
func (a *account) checkSessions(ctx context.Context, api *latchkey.Client) error {
	var breaches []error
	for token, fate := range a.sessions {
		breaches = append(breaches, a.check(ctx, api, token))
		if fate == ended && len(a.sessions) > 40 {
			delete(a.sessions, token)
		}
	}
	return errors.Join(breaches...)
}

// checkPasswords logs in with the current password and with the one before. It reports
// whether neither is in effect, which is allowed after a reset without a response.
func (a *account) checkPasswords(ctx context.Context, api *latchkey.Client) (lost bool, err error) {
	if a.former != "" && a.failures[0] < strikes-1 {
		if err := a.logIn(ctx, api, a.former); err != nil {
			return false, fmt.Errorf("%s, password before the last reset: %w", a.name, err)
		}
	}
	err = a.logIn(ctx, api, a.password)
	if a.inDoubt && errors.Is(err, latchkey.ErrInvalidCredentials) {
		a.failures = []int{a.failures[0] + 1}
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("%s, acknowledged password: %w", a.name, err)
	}
	return false, nil
}

// settleFailures checks the service's count of failures against the possible ones.
func (a *account) settleFailures(n int) error {
	if !slices.Contains(a.failures, n) {
		return fmt.Errorf("%s has %d failures in a row, and %v were acknowledged or may have been", a.name, n, a.failures)
	}
	a.failures = []int{n}
	return nil
}

// errOr returns err, or an error to print if there is none.
func errOr(err error) error {
	if err == nil {
		return errors.New("success")
	}
	return err
}
