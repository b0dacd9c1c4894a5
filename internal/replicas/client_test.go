package replicas_test

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/wire"
)

// outcome is the kind of a response.
type outcome string

const (
	ok          outcome = "ok"
	expired     outcome = "expired"
	wrong       outcome = "wrong"
	locked      outcome = "locked"
	unavailable outcome = "unavailable" // 503 with Retry-After: the request may have been executed
	lost        outcome = "lost"        // no complete response: the request may have been executed
	unexpected  outcome = "unexpected"  // a response that is always wrong
)

// response is a response, and when it was waited for.
type response struct {
	outcome outcome
	replica int
	call    time.Duration // since the fleet was started
	back    time.Duration
	text    string // the new token or password, or the reason
}

// Error implements error, for unexpected responses.
func (a response) Error() string {
	return fmt.Sprintf("replica %d: %s %s", a.replica, a.outcome, a.text)
}

// ambiguous reports whether the request may or may not have been executed.
func (a response) ambiguous() bool { return a.outcome == unavailable || a.outcome == lost }

func decode(r io.Reader, into any) error {
	text, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}

// request is a request.
type request struct {
	method, path, body, session, bearer, repeat string
}

// anywhere returns a random replica.
func (f *fleet) anywhere() int { return rand.IntN(len(f.replicas)) }

// do sends a request to a replica.
func (f *fleet) do(replica int, q request) (a response) {
	a = response{outcome: lost, replica: replica, call: time.Since(f.begin)}
	defer func() { a.back = time.Since(f.begin) }()
	url := f.replicas[replica].url() + q.path
	r, err := http.NewRequestWithContext(f.t.Context(), q.method, url, strings.NewReader(q.body))
	if err != nil {
		a.outcome, a.text = unexpected, err.Error()
		return a
	}
	if q.bearer == "" {
		q.bearer = f.bearer
	}
	r.Header.Set("Authorization", "Bearer "+q.bearer)
	r.Header.Set("Content-Type", wire.MediaTypeJSON)
	if q.session != "" {
		r.Header.Set(wire.HeaderSessionToken, q.session)
	}
	if q.repeat != "" {
		r.Header.Set(wire.HeaderIdempotency, q.repeat)
	}
	resp, err := f.http.Do(r)
	if err != nil {
		a.text = err.Error()
		return a
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		a.text = err.Error()
		return a
	}
	a.outcome, a.text = classify(resp, body)
	return a
}

// classify returns the outcome of a response, and the text for response.text.
func classify(resp *http.Response, body []byte) (outcome, string) {
	var fields struct {
		SessionToken, NewPassword, ErrorCode string
	}
	_ = json.Unmarshal(body, &fields)
	shown := fmt.Sprintf("%s %s (Retry-After: %q)", resp.Status, body, resp.Header.Get(wire.HeaderRetryAfter))
	switch {
	case resp.StatusCode == http.StatusOK:
		return ok, fields.SessionToken + fields.NewPassword
	case resp.StatusCode == http.StatusServiceUnavailable && resp.Header.Get(wire.HeaderRetryAfter) != "":
		return unavailable, shown
	case resp.StatusCode == http.StatusBadGateway, resp.StatusCode == http.StatusGatewayTimeout:
		return lost, shown // the upstream of the gateway failed
	}
	_, code, _ := strings.Cut(fields.ErrorCode, ".") // without the name of the service
	switch wire.Code(code) {
	case wire.CodeTokenExpired:
		return expired, shown
	case wire.CodeInvalidCredentials, wire.CodePasswordMismatch:
		return wrong, shown
	case wire.CodeAccountLocked:
		return locked, shown
	}
	return unexpected, shown
}

func (f *fleet) logIn(replica int, user, password string) response {
	body, _ := json.Marshal(wire.LogInRequest{Username: user, Password: password}) // two strings: it cannot fail
	return f.do(replica, request{method: http.MethodPost, path: wire.PathLogIn, body: string(body)})
}

func (f *fleet) logOut(replica int, session string) response {
	return f.do(replica, request{method: http.MethodPost, path: wire.PathLogOut, session: session})
}

func (f *fleet) check(replica int, session string, bearer ...string) response {
	q := request{method: http.MethodGet, path: wire.PathSession, session: session, bearer: strings.Join(bearer, "")}
	return f.do(replica, q)
}

func (f *fleet) forward(replica int, session string) response {
	return f.do(replica, request{method: http.MethodGet, path: "/api/m2m/v1/accounts/0000123456-00001", session: session})
}

// reset resets the password. repeat is the Idempotency-Key.
func (f *fleet) reset(replica int, session, old, repeat string) response {
	body, _ := json.Marshal(wire.ResetPasswordRequest{OldPassword: old})
	return f.do(replica, request{
		method: http.MethodPut, path: wire.PathResetPassword, body: string(body), session: session, repeat: repeat,
	})
}

// settled repeats a request while the response is 503, and counts the repetitions.
func settled(try func() response) (a response, again int) {
	deadline := time.Now().Add(patience)
	for a = try(); a.outcome == unavailable && time.Now().Before(deadline); a = try() {
		again++
		pause(time.Duration(50+rand.IntN(100)) * time.Millisecond)
	}
	return a, again
}
