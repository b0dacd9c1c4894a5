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
	// guardAfter is after how many failed logins in a row only a person may try again.
	// How many lock the account, each service decides for itself.
	guardAfter = 2
	// presumedIdle is how long a session lives without use (the vendor's
	// documentation). A service may have another rule; it cannot be asked.
	presumedIdle = 20 * time.Minute
)

// loginFlags are the flags of `login`.
type loginFlags struct {
	endpoint
	from  passwordSource
	force bool
	json  bool
}

func (a *app) loginCommand() *cobra.Command {
	var f loginFlags
	command := &cobra.Command{
		Use: "login", Short: "Log in and remember the session", Args: exactly(),
		Long: `
The session token is stored in a file that only you may read (see status), and
the other commands use it. The password is not stored.

Failed logins in a row lock an account, so a login is sent once, and never again by
itself. It is refused without being sent
  - while a session is stored that should still be live: use it, or log out
  - after two failed logins in a row, unless you type the password at a terminal
and --force sends it all the same.
`,
		Example: `  latchkey login --url http://127.0.0.1:8080 --api-key demo-key --user zbeeblebrox
  latchkey login --api-key KEY --api-secret-file key.secret --user zoe --password-file zoe.password
  pass show thingspace | latchkey login --password-stdin`,
	}
	f.addFlags(a, command)
	f.from.addFlags(command.Flags(), "the password")
	settings(command.Flags(), "password-file")
	a.conf.check(command, f.from.check)
	command.Flags().BoolVar(&f.force, "force", false, "log in although a live session is stored, or after failures")
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
	// One login at a time: a second one waits here, and then finds the session of
	// the first.
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

// mayLogIn answers why a login should not be sent.
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
		return fail(exitFailed, "%s is logged in to %s already, and used the session %s; nothing was sent; use it, end it with `latchkey logout`, or log in again with --force",
			printable(f.user), f.url, a.relative(l.LastUsedAt))
	}
	if l.Failures == 0 {
		return nil
	}
	if l.Failures >= guardAfter && f.from.piped() && !f.force {
		return fail(exitFailed, "the last %d logins of %s failed, and failed logins in a row lock the account; nothing was sent; find out what is wrong and type the password at a terminal, or add --force",
			l.Failures, printable(f.user))
	}
	a.warn("the last %s of %s failed; failed logins in a row lock the account", count(l.Failures, "login"), printable(f.user))
	return nil
}

// presumedLive reports whether the stored session was used so recently that it should
// be live. A use that lies in the future comes from a clock that was put back, and
// says nothing.
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

// countLogin logs in, once. The login is counted as failed before it is sent, so
// that a crash on the way does not forget it; who stores the result sets that right.
func (a *app) countLogin(ctx context.Context, f *loginFlags, client *latchkey.Client, password latchkey.Secret) (latchkey.Secret, error) {
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

// sendLogin logs in, once, and stores the session.
func (a *app) sendLogin(ctx context.Context, f *loginFlags, client *latchkey.Client, password latchkey.Secret) error {
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
			return fail(exitFailed, "%w; the login worked, and the session was ended again because nobody could use it", err)
		}
		return fail(exitFailed, "%w; the login worked, and its session ends by itself when it has been idle", err)
	}
	if f.json {
		return a.printJSON(map[string]any{"url": f.url, "apiKey": f.apiKey, "user": f.user, "loggedInAt": now})
	}
	if before != "" {
		a.note("the session from before is forgotten here; it ends by itself when it has been idle")
	}
	a.note("logged in to %s as %s; try: latchkey status", f.url, printable(f.user))
	return nil
}

// loginFailed corrects the count of failures by what is known now, and says what
// the failure means.
func (a *app) loginFailed(ctx context.Context, f *loginFlags, failures int, err error) error {
	wrong := errors.Is(err, latchkey.ErrInvalidCredentials)
	if !wrong && (isRefusal(err) || isOurUnavailable(err)) {
		// Nobody looked at the password.
		if _, stored := updateLogin(context.WithoutCancel(ctx), f.url, f.apiKey, f.user, func(l *login) {
			l.Failures = max(0, l.Failures-1)
		}); stored != nil {
			return errors.Join(err, stored)
		}
		return explain(err, f.url, "no session was stored")
	}
	known := "this is the first failed login that latchkey knows of, and more in a row lock the account"
	if failures > 1 {
		known = fmt.Sprintf("latchkey knows of %d failed logins in a row now, and more of them lock the account", failures)
	}
	if wrong {
		return fail(exitRefused, "%s refused the user name or the password; %s; it was not tried again; check both before you do", f.url, known)
	}
	return fail(exitCode(err), "%s; no session was stored, and it may have counted as a failed login: %s; it was not tried again", inDoubt(err, f.url), known)
}

// isRefusal reports whether the service certainly did nothing with what it was
// sent but refuse it.
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

// isOurUnavailable reports whether a latchkey service had no room or no answer: it
// counts no login then.
func isOurUnavailable(err error) bool {
	var fault *latchkey.FaultError
	return errors.As(err, &fault) && fault.Code == wire.FaultUnavailable
}

func (a *app) logoutCommand() *cobra.Command {
	var e endpoint
	command := &cobra.Command{
		Use: "logout", Short: "End the session and forget it", Args: exactly(),
		Long: `
A session that the service does not know any more is forgotten all the same. Where
the service cannot be reached, the session stays stored.
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
			a.note("the session of %s had ended already; it is forgotten", printable(e.user))
		} else {
			a.note("logged out of %s", e.url)
		}
		return nil
	}
	return command
}
