package cli

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"time"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/internal/wire"
)

// The exit codes. exitCodesHelp tells users the same.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitRefused     = 3
	exitForbidden   = 4
	exitUnavailable = 5
)

const exitCodesHelp = `Exit codes, the same for every command:

  0  it worked
  1  it failed on this side: a file, the database, an interruption
  2  the command line, a LATCHKEY_... variable or the config file is wrong; nothing was done
  3  the service refused: a wrong password, a name that does not exist, input it does not take
  4  not authorized: the API key was refused, no live session, or the account is locked
  5  the service is unavailable or cannot be reached

latchkey exec ends with the exit code of the command that it runs.`

// failure is an error with words for the person who meets it and an exit code.
type failure struct {
	code int
	text string
	err  error
}

func (f *failure) Error() string { return f.text }
func (f *failure) Unwrap() error { return f.err }

// fail says what happened, what was kept, and what to do.
func fail(code int, format string, args ...any) error {
	wrapped := fmt.Errorf(format, args...)
	return &failure{code: code, text: wrapped.Error(), err: errors.Unwrap(wrapped)}
}

// usage is a failure of the command line.
func usage(format string, args ...any) error { return fail(exitUsage, format, args...) }

// faults is a list of everything that is wrong with what the user said.
type faults []string

func (f *faults) add(format string, args ...any) { *f = append(*f, fmt.Sprintf(format, args...)) }

// err answers one failure that lists them all, or nil if there are none.
func (f faults) err() error {
	switch len(f) {
	case 0:
		return nil
	case 1:
		return usage("%s; nothing was done", f[0])
	}
	return usage("%d things are wrong; nothing was done:\n  %s", len(f), strings.Join(f, "\n  "))
}

// exitCode answers what an error ends the program with.
func exitCode(err error) int {
	var own *failure
	var admin *wire.AdminError
	var refused *latchkey.ConnectivityManagementResultError
	var fault *latchkey.FaultError
	var oauth *latchkey.OAuthError
	var odd *latchkey.ResponseError
	var lost *latchkey.TransportError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &own):
		return own.code
	case errors.As(err, &admin):
		if admin.Code == wire.AdminOverloaded || admin.Code == wire.AdminUnavailable {
			return exitUnavailable
		}
		return exitRefused
	case isAny(err, latchkey.ErrUnauthorized, latchkey.ErrInvalidClient, latchkey.ErrBlocked, latchkey.ErrAccountLocked,
		latchkey.ErrSessionExpired, latchkey.ErrSessionTokenInvalid, latchkey.ErrSessionTokenMissing):
		return exitForbidden
	case errors.Is(err, context.Canceled):
		return exitFailed
	case isAny(err, latchkey.ErrUnavailable, latchkey.ErrThrottled), errors.As(err, &lost):
		return exitUnavailable
	case errors.As(err, &refused):
		return exitOfStatus(refused.StatusCode)
	case errors.As(err, &fault):
		return exitOfStatus(fault.StatusCode)
	case errors.As(err, &oauth):
		return exitOfStatus(oauth.StatusCode)
	case errors.As(err, &odd):
		return exitOfStatus(odd.StatusCode)
	}
	return exitFailed
}

// exitOfStatus answers the exit code for an HTTP status.
func exitOfStatus(status int) int {
	switch {
	case status >= 200 && status <= 299:
		return exitOK
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return exitForbidden
	case status == http.StatusTooManyRequests || status >= 500:
		return exitUnavailable
	case status >= 400:
		return exitRefused
	}
	return exitFailed // a redirect, which is not followed
}

func isAny(err error, targets ...error) bool {
	for _, target := range targets {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}

// report prints an error as one line, and its advice as another one. An output whose
// reader left is no news to anybody.
func report(w io.Writer, err error) {
	text := strings.TrimPrefix(err.Error(), "latchkey: ")
	if errors.Is(err, syscall.EPIPE) || text == "" { // a command of exec has said it
		return
	}
	_, _ = fmt.Fprintf(w, "latchkey: %s\n", strings.TrimRight(text, "\n")) // there is nowhere else to complain
	var hinted interface{ Hint() string }
	if errors.As(err, &hinted) && hinted.Hint() != "" {
		_, _ = fmt.Fprintf(w, "  %s\n", hinted.Hint())
	}
}

// explain puts an error of the client into words for somebody at a shell, where
// it has better ones than the error itself. kept says what did not change.
func explain(err error, baseURL, kept string) error {
	var certificate *tls.CertificateVerificationError
	var fault *latchkey.FaultError
	code := exitCode(err)
	say := func(format string, args ...any) error {
		return &failure{code: code, text: fmt.Sprintf(format, args...), err: err}
	}
	switch {
	case err == nil:
		return nil
	case errors.As(err, new(*failure)):
		return err
	case speaksTLS(err):
		return usage("%s speaks TLS, and http:// does not; %s; use https://%s", baseURL, kept, strings.TrimPrefix(baseURL, "http://"))
	case speaksPlainly(err):
		return usage("%s does not speak TLS; %s; use https:// with the port that does, or http:// if the service is on this machine", baseURL, kept)
	case errors.Is(err, latchkey.ErrInvalidClient):
		return say("%s refused the API key or its secret; %s; check --api-key, and the secret in LATCHKEY_API_SECRET or --api-secret-file", baseURL, kept)
	case errors.Is(err, latchkey.ErrBlocked):
		return say("%s has blocked the API key; %s; trying again does not help: ask the operator of the service", baseURL, kept)
	case errors.Is(err, latchkey.ErrSessionExpired):
		return say("the session has ended or was idle for too long; it is no longer stored; log in again: latchkey login")
	case errors.Is(err, latchkey.ErrAccountLocked):
		return say("the account is locked after too many failed logins; %s; only the operator of the service unlocks it (with latchkey: latchkey user unlock NAME)", kept)
	case errors.As(err, &certificate):
		return say("the certificate of %s is not trusted here: %v; %s; if it is your own service, name its certificate with --ca-file", baseURL, certificate.Err, kept)
	case errors.Is(err, context.Canceled):
		return say("interrupted; %s%s", kept, maybeSent(err))
	case errors.As(err, &fault) && fault.Code == wire.FaultLatched:
		return say("%s does not log in to its upstream until an operator has looked; %s; trying again does not help before that: on the gateway's host, latchkey guard status shows why", baseURL, kept)
	case errors.Is(err, latchkey.ErrUnavailable), errors.Is(err, latchkey.ErrThrottled):
		return say("%s has no room or cannot tell right now; %s; try again%s", baseURL, kept, after(err))
	case errors.Is(err, latchkey.ErrNotSent) && code == exitUnavailable:
		return say("%s cannot be reached: %v; %s; check --url, and that the service runs", baseURL, cause(err), kept)
	}
	return say("%s; %s", strings.TrimPrefix(err.Error(), "latchkey: "), kept)
}

// speaksTLS reports whether a server says that it was sent plain HTTP where it expects
// TLS. There is no code for that, only what the usual servers write.
func speaksTLS(err error) bool {
	var odd *latchkey.ResponseError
	if !errors.As(err, &odd) || odd.StatusCode != http.StatusBadRequest {
		return false
	}
	text := strings.ToLower(odd.RawBody.Reveal())
	for _, words := range []string{
		"http request to an https server",                   // Go's own, and so ours and Caddy's
		"plain http request was sent to https port",         // nginx
		"speaking plain http to an ssl-enabled server port", // Apache
		"this combination of host and port requires tls",    // Tomcat
	} {
		if strings.Contains(text, words) {
			return true
		}
	}
	return false
}

// speaksPlainly reports whether a server answered a handshake of TLS with plain text.
func speaksPlainly(err error) bool {
	var record tls.RecordHeaderError
	return errors.Is(err, http.ErrSchemeMismatch) || errors.As(err, &record)
}

// cause answers the innermost words of a failure to reach a server.
func cause(err error) error {
	var lost *latchkey.TransportError
	if errors.As(err, &lost) {
		return lost.Err
	}
	return err
}

// inDoubt says what came instead of an answer, where the service may have acted.
func inDoubt(err error, baseURL string) string {
	var lost *latchkey.TransportError
	if errors.As(err, &lost) {
		return fmt.Sprintf("no answer came from %s: %v", baseURL, lost.Err)
	}
	return fmt.Sprintf("%s answered: %s", baseURL, strings.TrimPrefix(err.Error(), "latchkey: "))
}

func maybeSent(err error) string {
	if errors.Is(err, latchkey.ErrNotSent) {
		return ""
	}
	return ", but the service may have acted on the request already"
}

// after says how long the service asked to wait.
func after(err error) string {
	var fault *latchkey.FaultError
	var odd *latchkey.ResponseError
	var wait time.Duration
	switch {
	case errors.As(err, &fault):
		wait = fault.RetryAfter
	case errors.As(err, &odd):
		wait = odd.RetryAfter
	}
	if wait <= 0 {
		return ""
	}
	return " in " + wait.String()
}
