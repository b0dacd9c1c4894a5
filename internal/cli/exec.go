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

// The variables that the command of `exec` gets.
const (
	urlVariable          = envPrefix + "URL"
	accessTokenVariable  = envPrefix + "ACCESS_TOKEN"
	sessionTokenVariable = envPrefix + "SESSION_TOKEN"
)

// The exit codes of a command that does not start, as a shell has them.
const (
	exitNotExecutable = 126
	exitNotFound      = 127
	exitSignal        = 128 // and the number of the signal
)

const (
	logoutTimeout = 10 * time.Second
	// signalLag is how much later than the context a signal may arrive that ended it.
	signalLag = 200 * time.Millisecond
)

// execFlags are the flags of `exec`.
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

It is the stored session, if there is one. Otherwise exec logs in for this command,
with a password from --password-file or from you at the terminal, and logs out when the
command has ended; no token is written to the disk. Secrets of latchkey's own, such as
LATCHKEY_API_SECRET, are not passed on. The tokens are those of the start: an access
token lives for an hour from its first issue, a session until it is idle for too long.
What runs for longer goes through a gateway (latchkey serve --upstream).

Signals are passed on to COMMAND, and its exit code is that of exec: 128 and the number
of the signal that ended it, 127 if it is not found, 126 if it cannot be run. The exit
codes of latchkey are for what happens before it runs.
`,
		Example: `  latchkey exec -- sh -c 'curl -s -H "Authorization: Bearer $LATCHKEY_ACCESS_TOKEN" -H "VZ-M2M-Token: $LATCHKEY_SESSION_TOKEN" "$LATCHKEY_URL/latchkey/v1/session"'
  latchkey exec --user zoe --password-file zoe.password -- ./report.py`,
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveDefault
		},
	}
	f.addFlags(a, command)
	flags := command.Flags()
	flags.SetInterspersed(false) // what follows the command is the command's
	flags.StringVar(&f.from.file, "password-file", "", "if a login is needed, read the password from this `FILE`")
	settings(flags, "password-file")
	flags.BoolVar(&f.force, "force", false, "log in although a live session is stored, or after failures")
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
		return fail(exitNotFound, "there is no command %s: %w; nothing was sent", args[0], err)
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
	command := exec.Command(path, args[1:]...) //nolint:noctx,gosec // it ends by the signals that are passed on; the user names it
	command.Args[0] = args[0]
	command.Stdin, command.Stdout, command.Stderr = a.In, a.Out, a.Err
	command.Env = append(environmentWithoutSecrets(), urlVariable+"="+f.url,
		accessTokenVariable+"="+access.Token.Reveal(), sessionTokenVariable+"="+session.Reveal())
	return runForwarding(ctx, command)
}

// environmentWithoutSecrets is the environment without the variables that latchkey
// reads secrets from, or sets.
func environmentWithoutSecrets() []string {
	return slices.DeleteFunc(os.Environ(), func(pair string) bool {
		name, _, _ := strings.Cut(pair, "=")
		return slices.Contains([]string{urlVariable, accessTokenVariable, sessionTokenVariable}, name) ||
			slices.ContainsFunc(secretVariables, func(v [2]string) bool { return v[0] == name })
	})
}

// sessionFor returns a session token, and what ends the session again if it was made
// for this.
func (a *app) sessionFor(ctx context.Context, f *execFlags, client *latchkey.Client) (latchkey.Secret, func(), error) {
	if l := f.stored; l != nil && a.presumedLive(l) && !f.force {
		err := f.touch(ctx, func(l *login) { l.LastUsedAt = a.Now().UTC() }) // the command is about to
		return l.token(), func() {}, err
	}
	if f.user == "" {
		return "", nil, usage("no session is stored%s, and the user is missing; nothing was sent; log in first: latchkey login, or say who with --user or LATCHKEY_USER", f.described())
	}
	if _, ok := terminal(a.In); !ok && !f.from.piped() {
		return "", nil, fail(exitForbidden, "no live session is stored%s; nothing was sent; log in first: latchkey login, or name the password's file with --password-file", f.described())
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
			a.warn("the session of %s could not be ended: %v; it ends by itself when it has been idle", printable(f.user), err)
		}
	}, nil
}

// logInForNow logs in, once, as `login` does, and stores no token.
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
		a.warn("%v; the next login will think that this one failed", err)
	}
	return session, nil
}

// runForwarding runs a command, passes signals on to it, and returns its exit code as
// a failure without words.
func runForwarding(ctx context.Context, command *exec.Cmd) error {
	signals := make(chan os.Signal, 16)
	for _, s := range forwarded {
		if !signal.Ignored(s) { // nohup means the command as well
			signal.Notify(signals, s)
		}
	}
	defer signal.Stop(signals)
	// A command inherits the signals that are ignored here. SIGPIPE is, and has to
	// end programs that write to nobody. It inherits none that is caught.
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

// forwardSignals passes signals on until the command has ended. If ctx ends without
// a signal, the command gets SIGTERM.
func forwardSignals(ctx context.Context, to *os.Process, signals <-chan os.Signal, ended <-chan struct{}) {
	stopped := ctx.Done()
	var alone <-chan time.Time
	got := false
	for {
		select {
		case s := <-signals:
			got = true
			if !fromTerminal(s) { // which has sent it to the command as well
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

// commandCode is the exit code of a command as a shell tells it.
func commandCode(state *os.ProcessState) int {
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return exitSignal + int(status.Signal())
	}
	return state.ExitCode()
}
