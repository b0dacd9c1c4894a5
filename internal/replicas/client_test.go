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

// outcome is how a request was answered, as far as that matters here.
type outcome string

const (
	ok          outcome = "ok"
	expired     outcome = "expired"
	wrong       outcome = "wrong"
	locked      outcome = "locked"
	unavailable outcome = "unavailable" // 503, with a Retry-After: it may have happened
	unanswered  outcome = "unanswered"  // nothing came, or not all: it may have happened
	forbidden   outcome = "forbidden"   // an answer that nobody may get
)

// answer is what came back, and from when to when it was waited for.
type answer struct {
	outcome outcome
	replica int
	call    time.Duration // since the fleet began
	back    time.Duration
	text    string // the token or the password that was told; else what was wrong
}

// Error makes an answer that was not expected an error.
func (a answer) Error() string { return fmt.Sprintf("replica %d: %s %s", a.replica, a.outcome, a.text) }

// open says that it is not known what became of the request.
func (a answer) open() bool { return a.outcome == unavailable || a.outcome == unanswered }

func decode(r io.Reader, into any) error {
	text, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}

// request is one call.
type request struct {
	method, path, body, session, bearer, repeat string
}

// anywhere picks a replica.
func (f *fleet) anywhere() int { return rand.IntN(len(f.replicas)) }

func (f *fleet) do(replica int, q request) (a answer) {
	a = answer{outcome: unanswered, replica: replica, call: time.Since(f.begin)}
	defer func() { a.back = time.Since(f.begin) }()
	r, err := http.NewRequestWithContext(f.t.Context(), q.method, f.replicas[replica].url()+q.path, strings.NewReader(q.body))
	if err != nil {
		a.outcome, a.text = forbidden, err.Error()
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
	response, err := f.http.Do(r)
	if err != nil {
		a.text = err.Error()
		return a
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		a.text = err.Error()
		return a
	}
	a.outcome, a.text = judge(response, body)
	return a
}

// judge reads an answer.
func judge(response *http.Response, body []byte) (outcome, string) {
	var fields struct {
		SessionToken, NewPassword, ErrorCode string
	}
	_ = json.Unmarshal(body, &fields)
	shown := fmt.Sprintf("%s %s (Retry-After: %q)", response.Status, body, response.Header.Get(wire.HeaderRetryAfter))
	switch {
	case response.StatusCode == http.StatusOK:
		return ok, fields.SessionToken + fields.NewPassword
	case response.StatusCode == http.StatusServiceUnavailable && response.Header.Get(wire.HeaderRetryAfter) != "":
		return unavailable, shown
	case response.StatusCode == http.StatusBadGateway, response.StatusCode == http.StatusGatewayTimeout:
		return unanswered, shown // of the gateway's upstream
	}
	_, code, _ := strings.Cut(fields.ErrorCode, ".") // behind the name of the service
	switch wire.Code(code) {
	case wire.CodeTokenExpired:
		return expired, shown
	case wire.CodeInvalidCredentials, wire.CodePasswordMismatch:
		return wrong, shown
	case wire.CodeAccountLocked:
		return locked, shown
	}
	return forbidden, shown
}

func (f *fleet) logIn(replica int, user, password string) answer {
	body, _ := json.Marshal(wire.LogInRequest{Username: user, Password: password}) // two strings: it cannot fail
	return f.do(replica, request{method: http.MethodPost, path: wire.PathLogIn, body: string(body)})
}

func (f *fleet) logOut(replica int, session string) answer {
	return f.do(replica, request{method: http.MethodPost, path: wire.PathLogOut, session: session})
}

func (f *fleet) check(replica int, session string, bearer ...string) answer {
	return f.do(replica, request{method: http.MethodGet, path: wire.PathSession, session: session, bearer: strings.Join(bearer, "")})
}

func (f *fleet) forward(replica int, session string) answer {
	return f.do(replica, request{method: http.MethodGet, path: "/api/m2m/v1/accounts/0000123456-00001", session: session})
}

// reset has a new password made. repeat is the Idempotency-Key.
func (f *fleet) reset(replica int, session, old, repeat string) answer {
	body, _ := json.Marshal(wire.ResetPasswordRequest{OldPassword: old})
	return f.do(replica, request{method: http.MethodPut, path: wire.PathResetPassword, body: string(body), session: session, repeat: repeat})
}

// settled repeats a request while that is answered with 503.
func settled(try func() answer) (a answer, again int) {
	deadline := time.Now().Add(patience)
	for a = try(); a.outcome == unavailable && time.Now().Before(deadline); a = try() {
		again++
		pause(time.Duration(50+rand.IntN(100)) * time.Millisecond)
	}
	return a, again
}
