package cli

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/internal/admin"
	"github.com/latchkey/latchkey/internal/wire"
)

// The exit codes. exitCodesHelp explains them to users.
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

// faults are what is wrong with the flags, variables and config file.
type faults []string

func (f *faults) add(format string, args ...any) { *f = append(*f, fmt.Sprintf(format, args...)) }

// err returns one failure that lists them all, or nil if there are none.
func (f faults) err() error {
	switch len(f) {
	case 0:
		return nil
	case 1:
		return usage("%s; nothing was done", f[0])
	}
	return usage("%d things are wrong; nothing was done:\n  %s", len(f), strings.Join(f, "\n  "))
}

// exitCode returns the exit code for an error.
func exitCode(err error) int {
	var own *failure
	var reported *admin.Error
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
	case errors.As(err, &reported):
		if reported.Code == admin.CodeUnavailable {
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

// exitOfStatus returns the exit code for an HTTP status.
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

// explain adds to an error of the client which service it was, what did not change
// (kept), and what a user at a shell can do about it.
func explain(err error, baseURL, kept string) error {
	if err == nil || errors.As(err, new(*failure)) {
		return err
	}
	if errors.Is(err, latchkey.ErrSessionExpired) {
		kept = "the session is no longer stored"
	}
	code := exitCode(err)
	if speaksTLS(err) || speaksPlainly(err) {
		code = exitUsage
	}
	text := fmt.Sprintf("%s: %s; %s", baseURL, errorText(err), kept)
	return &failure{code: code, text: text, advice: adviceFor(err, baseURL), err: err}
}

// adviceFor returns what the options and commands of latchkey can do about an error of
// the client. If it returns "", the advice of the error itself holds.
func adviceFor(err error, baseURL string) string {
	var fault *latchkey.FaultError
	switch {
	case speaksTLS(err):
		return "the service speaks TLS: use https://" + strings.TrimPrefix(baseURL, "http://")
	case speaksPlainly(err):
		return "use https:// with the port that speaks TLS, or http:// if the service is on this machine"
	case errors.Is(err, latchkey.ErrInvalidClient):
		return "check --api-key, and the secret in LATCHKEY_API_SECRET or --api-secret-file"
	case errors.Is(err, latchkey.ErrBlocked):
		return "do not try again: only the operator of the service can unblock the API key"
	case errors.Is(err, latchkey.ErrSessionExpired):
		return "the session has ended or was idle for too long; log in again: latchkey login"
	case errors.Is(err, latchkey.ErrAccountLocked):
		return "the account is locked after too many failed logins; only the operator of the service can unlock it " +
			"(with latchkey: latchkey user unlock NAME)"
	case errors.As(err, new(*tls.CertificateVerificationError)):
		return "if the service is your own, name its certificate with --ca-file"
	case errors.Is(err, context.Canceled):
		return ""
	case errors.As(err, &fault) && fault.Code == wire.FaultLatched:
		return "do not try again until the operator of the gateway has acted; " +
			"on the gateway's host, latchkey guard status shows why"
	case errors.Is(err, latchkey.ErrUnavailable), errors.Is(err, latchkey.ErrThrottled):
		return "try again" + after(err)
	case errors.Is(err, latchkey.ErrNotSent) && exitCode(err) == exitUnavailable:
		return "check --url, and that the service runs"
	}
	return ""
}

// speaksTLS reports whether the server rejected plain HTTP because it expects TLS. No
// code identifies that, so speaksTLS compares the texts of common servers.
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

// speaksPlainly reports whether a server responded to a TLS handshake with plain text.
func speaksPlainly(err error) bool {
	var record tls.RecordHeaderError
	return errors.Is(err, http.ErrSchemeMismatch) || errors.As(err, &record)
}

// inDoubt describes what arrived instead of a usable response to a request on which the
// service may have acted.
func inDoubt(err error, baseURL string) string {
	var lost *latchkey.TransportError
	if errors.As(err, &lost) {
		return fmt.Sprintf("no response came from %s: %v", baseURL, lost.Err)
	}
	return fmt.Sprintf("%s responded: %s", baseURL, errorText(err))
}

// after returns " in" and how long the service asked to wait, or "" if it did not.
func after(err error) string {
	wait := latchkey.RetryAfter(err)
	if wait <= 0 {
		return ""
	}
	return " in " + wait.String()
}
