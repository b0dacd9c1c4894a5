package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/latchkey/latchkey/internal/admin"
)

// The states of users, API clients and sessions, as shown and as in JSON.
const (
	stateActive   = "active"
	stateLocked   = "locked"
	stateDisabled = "disabled"
	stateRevoked  = "revoked"
	stateLive     = "live"
	stateEnded    = "ended"
)

const listUsers = "latchkey user list"

func (a *app) userCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "user",
		Short: "Add, list, lock, disable and remove users",
		Long: `Manage the users of a latchkey service.
` + adminHelp,
		Example: `  latchkey user add zoe
  latchkey user list
  latchkey user unlock zoe`,
	}
	type operation func(*admin.Client, context.Context, string) error
	change := func(use string, do operation, short, long, done string) *cobra.Command {
		command := &cobra.Command{
			Use: use + " NAME...", Short: short, Long: long, Args: atLeastOne("the user's name"),
			Example: fmt.Sprintf("  latchkey user %s zoe", use),
		}
		a.completeArgs(command, anyNumber, a.userNames)
		return a.change(command, func(ctx context.Context, api *admin.Client, names []string) error {
			return a.changeUsers(ctx, names, done, func(ctx context.Context, name string) error {
				return do(api, ctx, name)
			})
		})
	}
	command.AddCommand(
		a.userAddCommand(), a.userListCommand(), a.userShowCommand(),
		change("lock", (*admin.Client).LockUser, "Refuse a user's logins until the user is unlocked",
			"Live sessions continue. `latchkey session end --all --user NAME` ends them.\n",
			"is locked; live sessions continue"),
		change("unlock", (*admin.Client).UnlockUser, "Lift a lock and reset the count of failed logins", "",
			"may log in again"),
		change("disable", (*admin.Client).DisableUser, "End a user's sessions and refuse logins",
			"The user sees the same error as for a wrong password.\n",
			"is disabled; the user's sessions have ended"),
		change("enable", (*admin.Client).EnableUser, "Let a disabled user log in again", "", "may log in again"),
		a.userRemoveCommand(), a.userPasswordCommand(), a.userAllowCommand(),
	)
	return command
}

// changeUsers applies change to each user and prints done after each.
func (a *app) changeUsers(
	ctx context.Context, names []string, done string, change func(context.Context, string) error,
) error {
	for _, name := range names {
		if err := change(ctx, name); err != nil {
			return adminFailure(err, userNamed(name), listUsers)
		}
		a.note("user %s %s", printable(name), done)
	}
	return nil
}

func userNamed(name string) string { return fmt.Sprintf("user %q", name) }

func (a *app) userAddCommand() *cobra.Command {
	return a.userWithPassword(&cobra.Command{
		Use: "add NAME", Short: "Add a user",
		Example: `  latchkey user add zoe                          # prints a generated password, once
  latchkey user add zoe --prompt
  latchkey user add zoe --password-file zoe.txt
  latchkey user add dispatch --allow 'GET /api/m2m/v1/devices/**' --allow 'POST /api/m2m/v1/sms'`,
	}, true, "was added")
}

func (a *app) userPasswordCommand() *cobra.Command {
	return a.userWithPassword(&cobra.Command{
		Use: "set-password NAME", Short: "Set a user's password and end the user's sessions",
		Long: "A lock remains. `latchkey user unlock NAME` lifts it.\n",
		Example: `  latchkey user set-password zoe                 # prints a generated password, once
  latchkey user set-password zoe --prompt`,
	}, false, "has a new password; the user's sessions have ended")
}

// userWithPassword returns a command that sets the password of a user. If add is true,
// the command adds the user. Without a given password, the service generates one.
func (a *app) userWithPassword(command *cobra.Command, add bool, done string) *cobra.Command {
	var from passwordSource
	var asJSON bool
	var allow []string
	if add {
		command.Flags().StringArrayVar(&allow, "allow", nil,
			"through a gateway, let the user send only requests like this `RULE`; may be repeated (default: all)")
	}
	command.Args = exactly("the user's name")
	command.Long += `
If you give no password, the service generates one of 20 letters and digits. It is
printed only once, alone on standard output, and not stored. A password that you give
must have at least 8 characters. It must not be among the most common ones, a
sequence of characters, or the user's name, unless the service was started with
--allow-weak-passwords, which is for tests.
`
	if !add {
		a.completeArgs(command, 1, a.userNames)
	}
	from.addFlags(command.Flags(), "the password")
	command.Flags().BoolVar(&from.prompt, "prompt", false, "ask for the password twice, without showing it")
	jsonFlag(command, &asJSON)
	a.conf.check(command, from.check)
	return a.change(command, func(ctx context.Context, api *admin.Client, args []string) error {
		name := args[0]
		password, err := a.readNewPassword(ctx, &from, name)
		if err != nil {
			return err
		}
		set := api.SetPassword
		if add {
			set = api.AddUser
		}
		made, err := set(ctx, admin.Password{Name: name, Password: password.Reveal(), Allow: allow})
		if err != nil {
			return adminFailure(err, userNamed(name), listUsers)
		}
		if asJSON {
			return a.tellJSON(made)
		}
		a.note("user %s %s", printable(name), done)
		if made.Password == "" {
			return nil
		}
		a.note("the password, shown only once:")
		return a.tell(made.Password + "\n")
	})
}

func (a *app) userRemoveCommand() *cobra.Command {
	var yes bool
	command := &cobra.Command{
		Use: "remove NAME...", Short: "End a user's sessions and remove the user", Args: atLeastOne("the user's name"),
		Long:    "The audit trail keeps the user's events. To refuse logins only for some time, use disable.\n",
		Example: "  latchkey user remove zoe\n  latchkey user remove --yes zoe ford",
	}
	yesFlag(command, &yes)
	a.completeArgs(command, anyNumber, a.userNames)
	return a.change(command, func(ctx context.Context, api *admin.Client, names []string) error {
		for _, name := range names {
			// A name that does not exist is reported before the first question.
			if _, err := api.User(ctx, name); err != nil {
				return adminFailure(err, userNamed(name), listUsers)
			}
		}
		for _, name := range names {
			if err := a.confirmChange(ctx, yes, fmt.Sprintf("Remove user %s permanently?", printable(name))); err != nil {
				return err
			}
			if err := a.changeUsers(ctx, []string{name}, "is removed", api.RemoveUser); err != nil {
				return err
			}
		}
		return nil
	})
}

// shownUser is a user as `--json` shows it.
type shownUser struct {
	admin.User
	State string `json:"state"`
}

func show(user admin.User) shownUser {
	switch {
	case user.Disabled:
		return shownUser{user, stateDisabled}
	case !user.LockedAt.IsZero():
		return shownUser{user, stateLocked}
	}
	return shownUser{user, stateActive}
}

// failures returns the number of consecutive failed logins as text for a table, or "-"
// for a user whom an operator locked: their number is not known.
func failures(user admin.User) string {
	if user.LockedByOperator {
		return "-"
	}
	return strconv.Itoa(user.Failures)
}

func (a *app) userListCommand() *cobra.Command {
	var asJSON bool
	var limit uint
	command := &cobra.Command{
		Use: "list", Short: "List users by name", Args: exactly(),
		Example: "  latchkey user list\n  latchkey user list --json",
	}
	jsonFlag(command, &asJSON)
	limitFlag(command, &limit, 100)
	return a.admin(command, func(ctx context.Context, api *admin.Client, _ []string) error {
		users := []shownUser{}
		more, err := pages(limit, func(after string, size int) (uint, string, error) {
			page, err := api.Users(ctx, after, size)
			if err != nil {
				return 0, "", err
			}
			for _, user := range page.Users {
				users = append(users, show(user))
			}
			return uint(len(page.Users)), page.Next, nil
		})
		if err != nil {
			return adminFailure(err, "user", listUsers)
		}
		if asJSON {
			return a.printJSON(users)
		}
		if len(users) == 0 {
			a.note("there are no users; add one: latchkey user add NAME")
			return nil
		}
		rows := [][]string{{"NAME", "STATE", "FAILURES", "PASSWORD SET", "CREATED"}}
		for _, u := range users {
			rows = append(rows, []string{
				u.Name, u.State, failures(u.User), a.relative(u.PasswordChangedAt), a.when(u.CreatedAt),
			})
		}
		a.table(rows, "", "CREATED", "PASSWORD SET")
		a.noteMore(more)
		return nil
	})
}

func (a *app) userShowCommand() *cobra.Command {
	var asJSON bool
	command := &cobra.Command{
		Use: "show NAME", Short: "Show one user", Args: exactly("the user's name"),
		Example: "  latchkey user show zoe\n  latchkey user show zoe --json",
	}
	a.completeArgs(command, 1, a.userNames)
	jsonFlag(command, &asJSON)
	return a.admin(command, func(ctx context.Context, api *admin.Client, args []string) error {
		found, err := api.User(ctx, args[0])
		if err != nil {
			return adminFailure(err, userNamed(args[0]), listUsers)
		}
		user := show(found)
		if asJSON {
			return a.printJSON(user)
		}
		sessions, err := api.Sessions(ctx, admin.SessionQuery{User: user.Name})
		if err != nil {
			return adminFailure(err, userNamed(user.Name), listUsers)
		}
		count := strconv.Itoa(len(sessions.Sessions))
		if sessions.Next != "" {
			count += " or more"
		}
		pairs := [][2]string{{"name", user.Name}, {"state", user.State}, {"failed logins", failures(found)}}
		if !user.LockedAt.IsZero() {
			by := "by failed logins"
			if user.LockedByOperator {
				by = "by an operator"
			}
			pairs = append(pairs, [2]string{"locked", a.moment(user.LockedAt) + ", " + by})
		}
		if len(found.Allow) > 0 {
			pairs = append(pairs, [2]string{"may send", strings.Join(found.Allow, "; ")})
		}
		a.pairs(append(pairs, [2]string{"live sessions", count},
			[2]string{"password set", a.moment(user.PasswordChangedAt)}, [2]string{"created", a.moment(user.CreatedAt)})...)
		return nil
	})
}

func (a *app) noteMore(more bool) {
	if more {
		a.note("there may be more; --limit 0 lists all")
	}
}

func jsonFlag(command *cobra.Command, asJSON *bool) {
	command.Flags().BoolVar(asJSON, "json", false, "print JSON, for programs: stable field names, times in UTC (RFC 3339)")
	settings(command.Flags(), "json")
}

func yesFlag(command *cobra.Command, yes *bool) {
	command.Flags().BoolVar(yes, "yes", false, "do not ask for confirmation; required without a terminal")
}

func limitFlag(command *cobra.Command, limit *uint, standard uint) {
	command.Flags().UintVar(limit, "limit", standard, "list at most `N`; 0 lists all")
}

func (a *app) userAllowCommand() *cobra.Command {
	var everything bool
	command := &cobra.Command{
		Use: "allow NAME [RULE...]", Short: "Limit what a user may send through a gateway",
		Long: `
The rules replace the previous ones immediately. A rule has two parts: one or more
methods separated by commas, or * for all of them, and a path. The path is under /api/,
or under /latchkey/hosts/NAME/ for a further host of the upstream. In the path, *
matches one segment, and ** at the end matches any number of segments. The gateway
refuses a request that no rule matches with status 403 and does not forward it.
`,
		Example: `  latchkey user allow dispatch 'GET /api/m2m/v1/devices/**' 'GET,POST /api/m2m/v1/callbacks/*'
  latchkey user allow dispatch --everything`,
		Args: atLeastOne("the user's name"),
	}
	command.Flags().BoolVar(&everything, "everything", false, "lift all limits")
	a.completeArgs(command, 1, a.userNames)
	return a.change(command, func(ctx context.Context, api *admin.Client, args []string) error {
		name, rules := args[0], args[1:]
		if everything == (len(rules) > 0) {
			return usage("exactly one of rules and --everything is required; nothing was changed")
		}
		if err := api.SetAllow(ctx, name, rules); err != nil {
			return adminFailure(err, userNamed(name), listUsers)
		}
		if everything {
			a.note("user %s may send every request", printable(name))
		} else {
			a.note("user %s may send only the requests that %d rules match", printable(name), len(rules))
		}
		return nil
	})
}
