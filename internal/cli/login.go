package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/internal/wire"
)

const (
	// guardAfter is the number of failed logins in a row after which only a person may
	// try again. The service decides how many lock the account.
	guardAfter = 2
	// presumedIdle is how long a session lives without use, according to the vendor's
	// documentation. A service may have another limit.
	presumedIdle = 20 * time.Minute
)

// loginFlags holds the flags of login.
type loginFlags struct {
	endpoint
	from  passwordSource
	force bool
	json  bool
}

func (a *app) loginCommand() *cobra.Command {
	var f loginFlags
	command := &cobra.Command{
		Use: "login", Short: "Log in and store the session", Args: exactly(),
		Long: `
login stores the session token in a file that only you may read (see status), and the
other commands use it. It does not store the password.

Failed logins in a row lock an account, so login sends one request and never repeats it.
It sends none
  - while a stored session should still be live: use it, or log out
  - after two failed logins in a row, unless you type the password at a terminal
--force sends the request in both cases.
`,
		Example: `  latchkey login --url http://127.0.0.1:8080 --api-key demo-key --user zbeeblebrox
  latchkey login --api-key KEY --api-secret-file key.secret --user zoe --password-file zoe.password
  pass show thingspace | latchkey login --password-stdin`,
	}
	f.addFlags(a, command)
	f.from.addFlags(command.Flags(), "the password")
	settings(command.Flags(), "password-file")
	a.conf.check(command, f.from.check)
	command.Flags().BoolVar(&f.force, "force", false, "log in even if a live session is stored or logins have failed")
	jsonFlag(command, &f.json)
	command.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := f.resolve(a, cmd, false); err != nil {
			return err
		}
		if f.user == "" {
			return usage("the user is missing; nothing was sent").hint("name it with --user or LATCHKEY_USER")
		}
		return a.login(cmd.Context(), &f)
	}
	return command
}

func (a *app) login(ctx context.Context, f *loginFlags) error {
	// One login at a time: a second one waits here and then finds the session of the
	// first.
	unlock, err := lockState(ctx, "login.lock")
	if err != nil {
		return err
	}
	defer unlock()
	if err := a.mayLogIn(f); err != nil {
		return err
	}
	client, err := a.client(ctx, &f.endpoint)
	if err != nil {
		return err
	}
	password, err := a.readPassword(ctx, &f.from, fmt.Sprintf("Password of %s: ", printable(f.user)))
	if err != nil {
		return err
	}
	return a.sendLogin(ctx, f, client, password)
}

// mayLogIn returns an error if the login should not be sent.
func (a *app) mayLogIn(f *loginFlags) error {
	s, err := readState() // again, under the lock
	if err != nil {
		return err
	}
	l := s.find(f.url, f.apiKey, f.user)
	if l == nil {
		return nil
	}
	if a.presumedLive(l) && !f.force {
		return fail(exitFailed, "%s is already logged in to %s, and last used the session %s; nothing was sent",
			printable(f.user), f.url, a.relative(l.LastUsedAt)).
			hint("use the session, end it with latchkey logout, or log in again with --force")
	}
	if l.Failures == 0 {
		return nil
	}
	if l.Failures >= guardAfter && f.from.piped() && !f.force {
		return fail(exitFailed, "the last %d logins of %s failed, and failed logins in a row lock the account; "+
			"nothing was sent", l.Failures, printable(f.user)).
			hint("find out what is wrong and type the password at a terminal, or add --force")
	}
	a.warn("the last %s of %s failed; failed logins in a row lock the account",
		count(l.Failures, "login"), printable(f.user))
	return nil
}

// presumedLive reports whether the stored session was used so recently that it should
// still be live. A last use in the future comes from a clock that was set back, and does
// not count.
func (a *app) presumedLive(l *login) bool {
	idle := a.Now().Sub(l.LastUsedAt)
	return l.SessionToken != "" && idle > -time.Minute && idle < presumedIdle
}

func count(n int, noun string) string {
	if n == 1 {
		return noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// countLogin logs in once. It counts the login as failed before it sends it, so that a
// crash does not lose the count; the caller corrects the count when it stores the result.
func (a *app) countLogin(
	ctx context.Context, f *loginFlags, client *latchkey.Client, password latchkey.Secret,
) (latchkey.Secret, error) {
	l, err := updateLogin(ctx, f.url, f.apiKey, f.user, func(l *login) { l.Failures++ })
	if err != nil {
		return "", err
	}
	answer, err := client.SessionManagement.StartConnectivityManagementSession(ctx,
		&latchkey.LogInRequest{Username: f.user, Password: password})
	if err != nil {
		return "", a.loginFailed(ctx, f, l.Failures, err)
	}
	return answer.Data.SessionToken, nil
}

// sendLogin logs in once and stores the session.
func (a *app) sendLogin(
	ctx context.Context, f *loginFlags, client *latchkey.Client, password latchkey.Secret,
) error {
	token, err := a.countLogin(ctx, f, client, password)
	if err != nil {
		return err
	}
	before, now := "", a.Now().UTC()
	_, err = updateLogin(context.WithoutCancel(ctx), f.url, f.apiKey, f.user, func(l *login) {
		before = l.SessionToken
		l.SessionToken, l.LoggedInAt, l.LastUsedAt, l.Failures = token.Reveal(), now, now, 0
		l.APISecretFile, l.CAFile = f.secretFile, f.caFile
	})
	if err != nil {
		_, ended := client.SessionManagement.EndConnectivityManagementSession(context.WithoutCancel(ctx), token)
		if ended == nil {
			return fail(exitFailed, "%w; the login succeeded, and its session was ended again", err)
		}
		return fail(exitFailed, "%w; the login succeeded, and its session expires when it has been idle", err)
	}
	if f.json {
		return a.printJSON(map[string]any{"url": f.url, "apiKey": f.apiKey, "user": f.user, "loggedInAt": now})
	}
	if before != "" {
		a.note("the previous session is no longer stored here; it expires when it has been idle")
	}
	a.note("logged in to %s as %s; try: latchkey status", f.url, printable(f.user))
	return nil
}

// loginFailed corrects the count of failures and returns what the failure means.
func (a *app) loginFailed(ctx context.Context, f *loginFlags, failures int, err error) error {
	wrong := errors.Is(err, latchkey.ErrInvalidCredentials)
	if !wrong && (isRefusal(err) || isOurUnavailable(err)) {
		// The password was not evaluated.
		if _, stored := updateLogin(context.WithoutCancel(ctx), f.url, f.apiKey, f.user, func(l *login) {
			l.Failures = max(0, l.Failures-1)
		}); stored != nil {
			return errors.Join(err, stored)
		}
		return explain(err, f.url, "no session was stored")
	}
	known := "this is the first failed login that latchkey knows of"
	if failures > 1 {
		known = fmt.Sprintf("latchkey knows of %d failed logins in a row", failures)
	}
	if wrong {
		return fail(exitRefused, "%s refused the user name or the password; %s; no session was stored", f.url, known).
			hint("check both before you try again: more failures in a row lock the account")
	}
	return fail(exitCode(err), "%s; no session was stored; the login may count as failed, and %s",
		inDoubt(err, f.url), known).
		hint("latchkey does not try again by itself: more failures in a row lock the account")
}

// isRefusal reports whether the service certainly refused the request and did nothing
// else.
func isRefusal(err error) bool {
	var refused *latchkey.ConnectivityManagementResultError
	var fault *latchkey.FaultError
	switch {
	case isAny(err, latchkey.ErrNotSent, latchkey.ErrThrottled, latchkey.ErrBlocked):
		return true
	case errors.As(err, &refused):
		return refused.StatusCode < 500 && !errors.Is(err, latchkey.ErrUnexpected)
	case errors.As(err, &fault):
		return fault.StatusCode < 500 // at 5xx a gateway may have passed the request on
	}
	return false
}

// isOurUnavailable reports whether a latchkey service was overloaded or unavailable. It
// does not count the login then.
func isOurUnavailable(err error) bool {
	var fault *latchkey.FaultError
	return errors.As(err, &fault) && fault.Code == wire.FaultUnavailable
}

func (a *app) logoutCommand() *cobra.Command {
	var e endpoint
	command := &cobra.Command{
		Use: "logout", Short: "End the session and remove it from this machine", Args: exactly(),
		Long: `
logout removes the stored session even if the service no longer knows it. If the service
cannot be reached, the session stays stored.
`,
		Example: "  latchkey logout\n  latchkey logout --user zbeeblebrox",
	}
	e.addFlags(a, command)
	command.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := e.resolve(a, cmd, true); err != nil {
			return err
		}
		ctx := cmd.Context()
		client, err := a.client(ctx, &e)
		if err != nil {
			return err
		}
		_, err = client.SessionManagement.EndConnectivityManagementSession(ctx, e.stored.token())
		gone := isAny(err, latchkey.ErrSessionExpired, latchkey.ErrSessionTokenInvalid)
		if err != nil && !gone {
			return explain(err, e.url, "the session is still stored")
		}
		if err := e.touch(ctx, (*login).forget); err != nil {
			return err
		}
		if gone {
			a.note("the session of %s had already ended; it is no longer stored", printable(e.user))
		} else {
			a.note("logged out of %s", e.url)
		}
		return nil
	}
	return command
}
