package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/internal/atomicfile"
)

func (a *app) passwordCommand() *cobra.Command {
	command := &cobra.Command{
		Use: "password", Short: "Reset the password",
		Long:    "Change the password of the user who is logged in.",
		Example: "  latchkey password reset --output new-password",
	}
	command.AddCommand(a.passwordResetCommand())
	return command
}

// resetFlags holds the flags of password reset.
type resetFlags struct {
	endpoint
	from   passwordSource
	output string
	yes    bool
}

func (a *app) passwordResetCommand() *cobra.Command {
	var f resetFlags
	command := &cobra.Command{
		Use: "reset", Short: "Make the service generate a new password", Args: exactly(),
		Long: `
The service generates the new password, puts it into effect at once, and returns it only
once. So reset needs a place for it before it sends the request:
  --output FILE   a new file that only you may read, created and synced first
  --output -      standard output, if the program that reads it stores it
  neither         the terminal, after you have confirmed
The request is sent once. If its response is lost, the file records that, and the command
prints what to do. A wrong old password counts as a failed login, and failures in a row
lock the account. The session remains live; the user's other sessions may end.
`,
		Example: `  latchkey password reset --output new-password
  latchkey password reset --password-file password --output new-password && mv new-password password`,
	}
	f.addFlags(a, command)
	f.from.addFlags(command.Flags(), "the old password")
	settings(command.Flags(), "password-file")
	a.conf.check(command, f.from.check)
	command.Flags().StringVar(&f.output, "output", "",
		"write the new password to this new `FILE`, or - for standard output")
	yesFlag(command, &f.yes)
	command.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := f.resolve(a, cmd, true); err != nil {
			return err
		}
		return a.resetPassword(cmd.Context(), &f)
	}
	return command
}

func (a *app) resetPassword(ctx context.Context, f *resetFlags) error {
	client, err := a.client(ctx, &f.endpoint)
	if err != nil {
		return err
	}
	old, err := a.readPassword(ctx, &f.from, fmt.Sprintf("Current password of %s: ", printable(f.user)))
	if err != nil {
		return err
	}
	keep, err := a.openPlace(ctx, f)
	if err != nil {
		return err
	}
	answer, err := client.SessionManagement.ResetConnectivityManagementPassword(ctx, f.stored.token(),
		&latchkey.SessionResetPasswordRequest{OldPassword: old})
	var odd *latchkey.ResponseError
	switch {
	case err == nil:
		return a.passwordChanged(ctx, f, keep, answer.Data.NewPassword)
	case errors.As(err, &odd) && !errors.Is(err, latchkey.ErrNotSent) && odd.StatusCode >= 200 && odd.StatusCode <= 299:
		return a.passwordUnreadable(keep, odd)
	}
	return a.passwordRefused(ctx, f, keep, err)
}

// passwordChanged stores the new password before anything else.
func (a *app) passwordChanged(ctx context.Context, f *resetFlags, keep *place, password latchkey.Secret) error {
	where, err := keep.store(password.Reveal() + "\n")
	if err != nil {
		return err
	}
	now := a.Now().UTC()
	if err := f.touch(ctx, func(l *login) { l.PasswordChangedAt, l.LastUsedAt, l.Failures = now, now, 0 }); err != nil {
		a.warn("%v; the password is changed and safe", err)
	}
	a.note("the password of %s is changed; the new one is in effect and is %s, and nowhere else; "+
		"put it where programs read it", printable(f.user), where)
	return nil
}

// passwordUnreadable stores the raw body of a response that should contain the new
// password.
func (a *app) passwordUnreadable(keep *place, odd *latchkey.ResponseError) error {
	where, err := keep.store(odd.RawBody.Reveal() + "\n")
	if err != nil {
		return err
	}
	return fail(exitFailed, "%w; the password has most likely been changed; the raw response is %s", odd, where).
		hint("look for the new password in the response, and try it with one login before anything else")
}

// passwordRefused returns what an error of the reset means.
func (a *app) passwordRefused(ctx context.Context, f *resetFlags, keep *place, err error) error {
	if !isRefusal(err) {
		left := keep.leave()
		return fail(exitCode(err), "%s; it is not known which password is in effect%s", inDoubt(err, f.url), left).
			hint("try the old password with ONE login (latchkey login --force). If it works, nothing was changed. " +
				"If it is refused, the new password is lost, and only the operator of the service can set another. " +
				"Do not try further: failures in a row lock the account")
	}
	if removed := keep.discard(); removed != nil {
		a.warn("%v", removed)
	}
	const kept = "the old password is still in effect"
	if errors.Is(err, latchkey.ErrSessionExpired) {
		if forgotten := f.touch(ctx, (*login).forget); forgotten != nil {
			return forgotten
		}
	}
	if errors.Is(err, latchkey.ErrPasswordMismatch) {
		l, stored := updateLogin(context.WithoutCancel(ctx), f.url, f.apiKey, f.user, func(l *login) { l.Failures++ })
		if stored != nil {
			return stored
		}
		return fail(exitRefused, "%s refused the old password; nothing was changed; it counts as a failed login, "+
			"the %s in a row that latchkey knows of", f.url, ordinal(l.Failures)).
			hint("check the password before you try again: more failures in a row lock the account")
	}
	return explain(err, f.url, kept)
}

func ordinal(n int) string {
	switch n {
	case 1:
		return "first"
	case 2:
		return "second"
	case 3:
		return "third"
	}
	return fmt.Sprintf("%dth", n)
}

// place is the destination of a new password. It is opened before the request is sent.
type place struct {
	app  *app
	file *os.File // nil: standard output
}

// placeholder is the content of the file during the request, and after it if the program
// was killed. It is longer than a password, so that the disk has room for the password.
const placeholder = `A password reset was sent at %s for %s at %s.
If you read this and latchkey no longer runs, the response was lost: it is not known
whether the old password is still in effect. Try it with ONE login. If it is refused,
only the operator of the service can set another one.
`

// openPlace opens the destination of the new password.
func (a *app) openPlace(ctx context.Context, f *resetFlags) (*place, error) {
	if f.output == "" || f.output == "-" {
		if a.output.leadsNowhere() {
			return nil, usage("standard output is the null device, and the new password is shown only once; " +
				"nothing was sent").hint("add --output FILE")
		}
		if f.output == "" {
			if _, ok := terminal(a.Out); !ok {
				return nil, usage("the new password is shown only once and must be stored; nothing was sent").
					hint("add --output FILE, or --output - if the program that reads standard output stores it")
			}
			if err := a.confirm(ctx, f.yes, "The new password is shown here, once, and nowhere else. Continue?"); err != nil {
				return nil, err
			}
		}
		return &place{app: a}, nil
	}
	file, err := os.OpenFile(f.output, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return nil, usage("%s already exists and is not overwritten; nothing was sent", f.output).
			hint("name a new file with --output")
	}
	if err != nil {
		return nil, fail(exitFailed, "create the file for the new password: %w; nothing was sent", err)
	}
	keep := &place{app: a, file: file}
	_, err = fmt.Fprintf(file, placeholder, a.Now().UTC().Format(time.RFC3339), f.user, f.url)
	if err = errors.Join(err, file.Sync(), atomicfile.SyncDirectory(filepath.Dir(f.output))); err != nil {
		return nil, fail(exitFailed, "write the file for the new password: %w; nothing was sent",
			errors.Join(err, keep.discard()))
	}
	return keep, nil
}

// store writes what must not be lost, and returns where it is. Where the
// place fails after all, it goes to the state directory, and at the very last to
// the terminal.
func (k *place) store(content string) (where string, err error) {
	if k.file == nil {
		where = "above"
		_, err = fmt.Fprint(k.app.Out, content)
	} else {
		where = "in " + k.file.Name()
		if err = k.file.Truncate(0); err == nil {
			err = writeSynced(k.file, []byte(content))
		}
	}
	if err == nil {
		return where, nil
	}
	if path, rescued := k.app.rescue("rescued-password", content); rescued == nil {
		return "", (&failure{code: exitFailed, text: fmt.Sprintf(
			"the password is changed, but the new one could not be written to its place: %v; it is saved in %s",
			err, path)}).hint("move it from there")
	}
	_, _ = fmt.Fprint(k.app.Err, content) // the last resort
	return "", (&failure{code: exitFailed, text: fmt.Sprintf(
		"the password is changed, but the new one could not be written anywhere: %v; it is shown above, once", err)}).
		hint("copy it now")
}

// discard removes the file.
func (k *place) discard() error {
	if k.file == nil {
		return nil
	}
	return errors.Join(k.file.Close(), os.Remove(k.file.Name()))
}

// leave keeps the placeholder and returns a note about it.
func (k *place) leave() string {
	if k.file == nil {
		return ""
	}
	_ = k.file.Close() // it was synced before the request was sent
	return "; " + k.file.Name() + " has a note of this"
}
