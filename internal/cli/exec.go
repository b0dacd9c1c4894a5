package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/latchkey/latchkey"
)

// The variables that exec sets for its command.
const (
	urlVariable          = envPrefix + "URL"
	accessTokenVariable  = envPrefix + "ACCESS_TOKEN"
	sessionTokenVariable = envPrefix + "SESSION_TOKEN"
)

// The exit codes of a shell for a command that does not start or is ended by a signal.
const (
	exitNotExecutable = 126
	exitNotFound      = 127
	exitSignal        = 128 // plus the number of the signal
)

const (
	logoutTimeout = 10 * time.Second
	// signalLag bounds the time between the end of the context and the arrival of the
	// signal that ended it.
	signalLag = 200 * time.Millisecond
)

// execFlags holds the flags of exec.
type execFlags struct {
	endpoint
	from  passwordSource
	force bool
}

func (a *app) execCommand() *cobra.Command {
	var f execFlags
	command := &cobra.Command{
		Use: "exec [flags] -- COMMAND [ARGUMENT...]", Short: "Run a command with live tokens in its environment",
		Args: atLeastOne("the command"),
		Long: `
COMMAND runs with these variables:

  ` + urlVariable + `             the base URL of the service
  ` + accessTokenVariable + `    the access token, for the header Authorization: Bearer ...
  ` + sessionTokenVariable + `   the session token, for the header VZ-M2M-Token

exec uses the stored session, if there is one. Otherwise it logs in for this command, with
the password from --password-file or typed at the terminal, and logs out when the command
has ended; it writes no token to the disk. The command does not receive latchkey's own
secrets, such as LATCHKEY_API_SECRET. The tokens are not renewed: an access token lives
for an hour from its first issue, a session until it has been idle for too long. For
commands that run longer, use a gateway (latchkey serve --upstream).

exec passes signals on to COMMAND and ends with the exit code of COMMAND: 128 plus the
number of the signal that ended it, 127 if it was not found, 126 if it cannot be run. The
exit codes of latchkey apply to what happens before COMMAND runs.
`,
		Example: `  latchkey exec -- sh -c 'curl -s -H "Authorization: Bearer $LATCHKEY_ACCESS_TOKEN" \
    -H "VZ-M2M-Token: $LATCHKEY_SESSION_TOKEN" "$LATCHKEY_URL/latchkey/v1/session"'
  latchkey exec --user zoe --password-file zoe.password -- ./report.py`,
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveDefault
		},
	}
	f.addFlags(a, command)
	flags := command.Flags()
	flags.SetInterspersed(false) // flags after the command belong to the command
	flags.StringVar(&f.from.file, "password-file", "", "if a login is needed, read the password from this `FILE`")
	settings(flags, "password-file")
	flags.BoolVar(&f.force, "force", false, "log in even if a live session is stored or logins have failed")
	command.RunE = func(cmd *cobra.Command, args []string) error {
		if err := f.resolve(a, cmd, false); err != nil {
			return err
		}
		return a.exec(cmd.Context(), &f, args)
	}
	return command
}

func (a *app) exec(ctx context.Context, f *execFlags, args []string) error {
	path, err := exec.LookPath(args[0])
	switch {
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, os.ErrNotExist):
		return fail(exitNotFound, "command %s not found: %w; nothing was sent", args[0], err)
	case err != nil:
		return fail(exitNotExecutable, "%s cannot be run: %w; nothing was sent", args[0], err)
	}
	client, err := a.client(ctx, &f.endpoint)
	if err != nil {
		return err
	}
	session, logOut, err := a.sessionFor(ctx, f, client)
	if err != nil {
		return err
	}
	defer logOut()
	access, err := client.AccessToken(ctx) // after a login it is in memory
	if err != nil {
		return explain(err, f.url, "the command was not run")
	}
	//nolint:noctx,gosec // signals are passed on and end it; the user names it
	command := exec.Command(path, args[1:]...)
	command.Args[0] = args[0]
	command.Stdin, command.Stdout, command.Stderr = a.In, a.Out, a.Err
	command.Env = append(environmentWithoutSecrets(), urlVariable+"="+f.url,
		accessTokenVariable+"="+access.Token.Reveal(), sessionTokenVariable+"="+session.Reveal())
	return runForwarding(ctx, command)
}

// environmentWithoutSecrets returns the environment without the variables from which
// latchkey reads secrets, and those that exec sets.
func environmentWithoutSecrets() []string {
	return slices.DeleteFunc(os.Environ(), func(pair string) bool {
		name, _, _ := strings.Cut(pair, "=")
		return slices.Contains([]string{urlVariable, accessTokenVariable, sessionTokenVariable}, name) ||
			slices.ContainsFunc(secretVariables, func(v [2]string) bool { return v[0] == name })
	})
}

// sessionFor returns a session token and a function that ends the session if it was
// started for this command.
func (a *app) sessionFor(ctx context.Context, f *execFlags, client *latchkey.Client) (latchkey.Secret, func(), error) {
	if l := f.stored; l != nil && a.presumedLive(l) && !f.force {
		err := f.touch(ctx, func(l *login) { l.LastUsedAt = a.Now().UTC() }) // the command will use it
		return l.token(), func() {}, err
	}
	if f.user == "" {
		return "", nil, usage("no session is stored%s, and the user is missing; nothing was sent", f.described()).
			hint("log in first (latchkey login), or name the user with --user or LATCHKEY_USER")
	}
	if _, ok := terminal(a.In); !ok && !f.from.piped() {
		return "", nil, fail(exitForbidden, "no live session is stored%s; nothing was sent", f.described()).
			hint("log in first (latchkey login), or name the file with the password with --password-file")
	}
	session, err := a.logInForNow(ctx, f, client)
	if err != nil {
		return "", nil, err
	}
	return session, func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), logoutTimeout)
		defer cancel()
		_, err := client.SessionManagement.EndConnectivityManagementSession(ctx, session)
		if err != nil && !isAny(err, latchkey.ErrSessionExpired, latchkey.ErrSessionTokenInvalid) {
			a.warn("the session of %s could not be ended: %v; it expires when it has been idle", printable(f.user), err)
		}
	}, nil
}

// logInForNow logs in once, as login does, but stores no token.
func (a *app) logInForNow(ctx context.Context, f *execFlags, client *latchkey.Client) (latchkey.Secret, error) {
	unlock, err := lockState(ctx, "login.lock")
	if err != nil {
		return "", err
	}
	defer unlock()
	as := &loginFlags{endpoint: f.endpoint, from: f.from, force: f.force}
	if err := a.mayLogIn(as); err != nil {
		return "", err
	}
	password, err := a.readPassword(ctx, &f.from, fmt.Sprintf("Password of %s: ", printable(f.user)))
	if err != nil {
		return "", err
	}
	session, err := a.countLogin(ctx, as, client, password)
	if err != nil {
		return "", err
	}
	_, err = updateLogin(context.WithoutCancel(ctx), f.url, f.apiKey, f.user, func(l *login) { l.Failures = 0 })
	if err != nil {
		a.warn("%v; the next login will count this one as failed", err)
	}
	return session, nil
}

// runForwarding runs a command and passes signals on to it. It returns an exit code other
// than 0 as a failure without a text.
func runForwarding(ctx context.Context, command *exec.Cmd) error {
	signals := make(chan os.Signal, 16)
	for _, s := range forwarded {
		if !signal.Ignored(s) { // nohup is meant for the command, too
			signal.Notify(signals, s)
		}
	}
	defer signal.Stop(signals)
	// A command inherits which signals are ignored, but not which are caught. This
	// program ignores SIGPIPE, but the command should end when its reader has left.
	ignored := signal.Ignored(syscall.SIGPIPE)
	if ignored {
		signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	}
	err := command.Start()
	if ignored {
		signal.Ignore(syscall.SIGPIPE)
	}
	if err != nil {
		return fail(exitNotExecutable, "%s cannot be run: %w", command.Path, err)
	}
	ended := make(chan struct{})
	go forwardSignals(ctx, command.Process, signals, ended)
	err = command.Wait()
	close(ended)
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return fail(exitFailed, "the command has ended, and its output may be incomplete: %w", err)
	}
	if code := commandCode(command.ProcessState); code != 0 {
		return &failure{code: code, err: err}
	}
	return nil
}

// forwardSignals passes signals on until the command has ended. If ctx is canceled
// without a signal, it sends SIGTERM.
func forwardSignals(ctx context.Context, to *os.Process, signals <-chan os.Signal, ended <-chan struct{}) {
	stopped := ctx.Done()
	var alone <-chan time.Time
	got := false
	for {
		select {
		case s := <-signals:
			got = true
			if !fromTerminal(s) { // a terminal sends it to the command, too
				_ = to.Signal(s) // it may have ended
			}
		case <-stopped:
			stopped = nil
			timer := time.NewTimer(signalLag)
			defer timer.Stop()
			alone = timer.C
		case <-alone:
			if !got {
				_ = to.Signal(syscall.SIGTERM) // as above
			}
		case <-ended:
			return
		}
	}
}

// commandCode returns the exit code of a command as a shell does.
func commandCode(state *os.ProcessState) int {
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return exitSignal + int(status.Signal())
	}
	return state.ExitCode()
}
