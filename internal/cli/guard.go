package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/latchkey/latchkey/internal/wire"
	"github.com/latchkey/latchkey/keeper"
)

func (a *app) guardCommand() *cobra.Command {
	command := &cobra.Command{
		Use: "guard", Short: "Show and reset the guard of the upstream's account",
		Long: `An upstream locks an account after several failed logins in a row (strikes). The guard
prevents that: it latches after at most two strikes. Then no program that shares the
state logs in until an operator acts. For a gateway, name its credential file, and its
upstream with --url.`,
		Example: `  latchkey guard status --credential-file upstream.json
  latchkey guard reset --credential-file upstream.json`,
	}
	command.AddCommand(a.guardStatusCommand(), a.guardResetCommand())
	return command
}

func (a *app) guardStatusCommand() *cobra.Command {
	var f rotateFlags
	command := &cobra.Command{
		Use: "status", Short: "Show whether the guard allows logins, and why not", Args: exactly(),
		Long: `
The command sends nothing, so a session that it shows as live may have ended at the
upstream. The exit code is 4 if the guard is latched, which means that no program logs in
until an operator acts. A wait ends by itself and is not a failure: the command shows
when it ends.
`,
		Example: "  latchkey guard status --credential-file upstream.json || echo 'have a look'",
	}
	f.addFlags(a, command)
	jsonFlag(command, &f.json)
	command.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx := cmd.Context()
		c, err := f.load(ctx, a)
		if err != nil {
			return err
		}
		if err := a.rotationStatus(ctx, &f, c.User); err != nil {
			return err
		}
		shown, err := f.shown(ctx, a, c.User)
		switch {
		case err != nil:
			return err
		case shown.unused:
			a.note("nothing is recorded in this state for %s at %s; if programs use the account, "+
				"name their state with --state-file or --database, and their upstream with --url",
				printable(c.User), shown.URL)
		case shown.Latched != "":
			return fail(exitForbidden, "the guard is latched, and no program logs in").
				hint("if the password is wrong, correct it with latchkey credential set, and the next login uses it;\n" +
					"if it is right and the account is not locked: latchkey guard reset, with the same options as this command")
		}
		return nil
	}
	return command
}

func (a *app) guardResetCommand() *cobra.Command {
	var f upstream
	var yes bool
	command := &cobra.Command{
		Use: "reset", Short: "Allow logins again", Args: exactly(),
		Long: `
Reset the guard only if you know that the password in the credential file is right and
the account is not locked. The reset also ends every wait for the next login. Running
programs notice it within seconds. It does not reset the upstream's own count of failed
logins: only a successful login does. The command sends nothing.
`,
		Example: "  latchkey guard reset --credential-file upstream.json",
	}
	f.addFlags(a, command)
	yesFlag(command, &yes)
	command.RunE = func(cmd *cobra.Command, _ []string) error {
		return a.resetGuard(cmd.Context(), &f, yes)
	}
	return command
}

// isUnused reports whether no login with the credential has been attempted.
func isUnused(s keeper.Status) bool {
	return s.PasswordSince.IsZero() && s.LoggedInAt.IsZero() && s.Strikes == 0 && s.Latched == nil && s.Waiting == nil &&
		s.Rotation == keeper.RotationNone
}

func (a *app) resetGuard(ctx context.Context, u *upstream, yes bool) (err error) {
	c, err := u.load(ctx, a)
	if err != nil {
		return err
	}
	u.url = cmp.Or(u.url, wire.ProductionBaseURL)
	question := fmt.Sprintf("Is the password of %s right, and the account at %s not locked?", printable(c.User), u.url)
	if err := a.confirm(ctx, yes, question); err != nil {
		return err
	}
	k, err := u.offline(ctx, a)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, k.Close(ctx)) }()
	status, err := k.Status(ctx)
	if err != nil {
		return fail(exitFailed, "%w; nothing was changed", err)
	}
	if isUnused(status) {
		return fail(exitFailed, "no program has used the state %s for %s at %s; nothing was changed",
			u.stateIn(), printable(c.User), u.url).
			hint("name the state of the programs with --state-file or --database, and their upstream with --url")
	}
	if err := k.ResetGuard(ctx); err != nil {
		return fail(exitFailed, "%w; nothing was changed", err)
	}
	a.note("within seconds, every program that shares the state %s may log in again", u.stateIn())
	if status.Strikes > 0 {
		a.note("failed logins that the upstream may still count, until a login succeeds: %d", status.Strikes)
	}
	return nil
}
