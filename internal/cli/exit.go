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

// faults lists everything that is wrong with the flags, variables and config file.
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
		if reported.Code == admin.CodeOverloaded || reported.Code == admin.CodeUnavailable {
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

// explain adds to an error of the client what a user at a shell needs to know: which
// service it was, what did not change (kept), and what to do.
func explain(err error, baseURL, kept string) error {
	var certificate *tls.CertificateVerificationError
	var fault *latchkey.FaultError
	code := exitCode(err)
	say := func(format string, args ...any) *failure {
		return &failure{code: code, text: fmt.Sprintf(format, args...), err: err}
	}
	switch {
	case err == nil:
		return nil
	case errors.As(err, new(*failure)):
		return err
	case speaksTLS(err):
		return usage("%s speaks TLS, and http:// does not; %s", baseURL, kept).
			hint("use https://%s", strings.TrimPrefix(baseURL, "http://"))
	case speaksPlainly(err):
		return usage("%s does not speak TLS; %s", baseURL, kept).
			hint("use https:// with the port that does, or http:// if the service is on this machine")
	case errors.Is(err, latchkey.ErrInvalidClient):
		return say("%s refused the API key or its secret; %s", baseURL, kept).
			hint("check --api-key, and the secret in LATCHKEY_API_SECRET or --api-secret-file")
	case errors.Is(err, latchkey.ErrBlocked):
		return say("%s has blocked the API key; %s", baseURL, kept).
			hint("do not try again: only the operator of the service can unblock the key")
	case errors.Is(err, latchkey.ErrSessionExpired):
		return say("the session has ended or was idle for too long; it is no longer stored").
			hint("log in again: latchkey login")
	case errors.Is(err, latchkey.ErrAccountLocked):
		return say("the account is locked after too many failed logins; %s", kept).
			hint("only the operator of the service unlocks it (with latchkey: latchkey user unlock NAME)")
	case errors.As(err, &certificate):
		return say("the certificate of %s is not trusted here: %v; %s", baseURL, certificate.Err, kept).
			hint("if it is your own service, name its certificate with --ca-file")
	case errors.Is(err, context.Canceled):
		return say("interrupted; %s%s", kept, maybeSent(err))
	case errors.As(err, &fault) && fault.Code == wire.FaultLatched:
		return say("%s does not log in to its upstream until its operator acts; %s", baseURL, kept).
			hint("do not try again before that; on the gateway's host, latchkey guard status shows why")
	case errors.Is(err, latchkey.ErrUnavailable), errors.Is(err, latchkey.ErrThrottled):
		return say("%s is overloaded or unavailable; %s", baseURL, kept).hint("try again%s", after(err))
	case errors.Is(err, latchkey.ErrNotSent) && code == exitUnavailable:
		return say("%s cannot be reached: %v; %s", baseURL, cause(err), kept).
			hint("check --url, and that the service runs")
	}
	return say("%s; %s", errorText(err), kept)
}

// speaksTLS reports whether the server rejected plain HTTP because it expects TLS. There
// is no code for that, so the texts of common servers are compared.
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

// speaksPlainly reports whether a server answered a TLS handshake with plain text.
func speaksPlainly(err error) bool {
	var record tls.RecordHeaderError
	return errors.Is(err, http.ErrSchemeMismatch) || errors.As(err, &record)
}

// cause returns the innermost error of a failure to reach a server.
func cause(err error) error {
	var lost *latchkey.TransportError
	if errors.As(err, &lost) {
		return lost.Err
	}
	return err
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

func maybeSent(err error) string {
	if errors.Is(err, latchkey.ErrNotSent) {
		return ""
	}
	return ", but the service may have acted on the request already"
}

// after returns " in" and how long the service asked to wait, or "" if it did not.
func after(err error) string {
	wait := latchkey.RetryAfter(err)
	if wait <= 0 {
		return ""
	}
	return " in " + wait.String()
}
