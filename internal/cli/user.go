package cli

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/latchkey/latchkey/internal/wire"
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
	change := func(use, path, short, long, done string) *cobra.Command {
		command := &cobra.Command{
			Use: use + " NAME...", Short: short, Long: long, Args: atLeastOne("the user's name"),
			Example: fmt.Sprintf("  latchkey user %s zoe", use),
		}
		a.completeArgs(command, anyNumber, a.userNames)
		return a.change(command, func(ctx context.Context, api adminAPI, names []string) error {
			return a.changeUsers(ctx, api, path, done, names)
		})
	}
	command.AddCommand(
		a.userAddCommand(), a.userListCommand(), a.userShowCommand(),
		change("lock", wire.PathAdminUserLock, "Refuse logins until the user is unlocked",
			"Live sessions go on; `latchkey session end --all --user NAME` ends them.\n", "is locked; live sessions go on"),
		change("unlock", wire.PathAdminUserUnlock, "Lift a lock and forget the failed logins", "", "may log in again"),
		change("disable", wire.PathAdminUserDisable, "End a user's sessions and refuse logins",
			"To the user it looks as if the password were wrong.\n", "is disabled, and has no session any more"),
		change("enable", wire.PathAdminUserEnable, "Let a disabled user log in again", "", "may log in again"),
		a.userRemoveCommand(), a.userPasswordCommand(), a.userAllowCommand(),
	)
	return command
}

func (a *app) changeUsers(ctx context.Context, api adminAPI, path, done string, names []string) error {
	for _, name := range names {
		if err := api.Post(ctx, path, wire.AdminName{Name: name}, nil); err != nil {
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
	}, wire.PathAdminUserAdd, "was added")
}

func (a *app) userPasswordCommand() *cobra.Command {
	return a.userWithPassword(&cobra.Command{
		Use: "set-password NAME", Short: "Give a user another password and end the user's sessions",
		Long: "A lock stays; `latchkey user unlock NAME` lifts it.\n",
		Example: `  latchkey user set-password zoe                 # prints a generated password, once
  latchkey user set-password zoe --prompt`,
	}, wire.PathAdminUserPassword, "has a new password, and no session any more")
}

// userWithPassword makes a command that sets a user's password: a generated one,
// unless one is given.
func (a *app) userWithPassword(command *cobra.Command, path, done string) *cobra.Command {
	var from passwordSource
	var asJSON bool
	var allow []string
	if path == wire.PathAdminUserAdd {
		command.Flags().StringArrayVar(&allow, "allow", nil, "through a gateway, let the user send only requests like this `RULE`; may be repeated (default: all)")
	}
	command.Args = exactly("the user's name")
	command.Long += `
Unless you say otherwise, the service makes up a password of 20 letters and digits.
It is printed this once, alone on standard output, and kept nowhere. One that you give
must have 8 characters or more, and be neither among the most common ones, nor characters
in a row, nor the user's name, unless the service was started with
--allow-weak-passwords, which is for tests.
`
	if path == wire.PathAdminUserPassword {
		a.completeArgs(command, 1, a.userNames)
	}
	from.addFlags(command.Flags(), "the password")
	command.Flags().BoolVar(&from.prompt, "prompt", false, "ask for the password, twice, without showing it")
	jsonFlag(command, &asJSON)
	a.conf.check(command, from.check)
	return a.change(command, func(ctx context.Context, api adminAPI, args []string) error {
		name := args[0]
		password, err := a.readNewPassword(ctx, &from, name)
		if err != nil {
			return err
		}
		var answer wire.AdminPassword
		if err := api.Post(ctx, path, wire.AdminPassword{Name: name, Password: password.Reveal(), Allow: allow}, &answer); err != nil {
			return adminFailure(err, userNamed(name), listUsers)
		}
		if asJSON {
			return a.tellJSON(answer)
		}
		a.note("user %s %s", printable(name), done)
		if answer.Password == "" {
			return nil
		}
		a.note("the password, told this once:")
		return a.tell(answer.Password + "\n")
	})
}

func (a *app) userRemoveCommand() *cobra.Command {
	var yes bool
	command := &cobra.Command{
		Use: "remove NAME...", Short: "End a user's sessions and forget the user", Args: atLeastOne("the user's name"),
		Long:    "The audit trail keeps what the user did. To shut somebody out for a while, use disable.\n",
		Example: "  latchkey user remove zoe\n  latchkey user remove --yes zoe ford",
	}
	yesFlag(command, &yes)
	a.completeArgs(command, anyNumber, a.userNames)
	return a.change(command, func(ctx context.Context, api adminAPI, names []string) error {
		for _, name := range names {
			// A name that nobody has should be told before anything is asked.
			if err := api.Get(ctx, wire.PathAdminUser, url.Values{"name": {name}}, &wire.AdminUser{}); err != nil {
				return adminFailure(err, userNamed(name), listUsers)
			}
		}
		for _, name := range names {
			if err := a.confirmChange(ctx, yes, fmt.Sprintf("Remove user %s for good?", printable(name))); err != nil {
				return err
			}
			if err := a.changeUsers(ctx, api, wire.PathAdminUserRemove, "is removed", []string{name}); err != nil {
				return err
			}
		}
		return nil
	})
}

// shownUser is a user as `--json` shows it.
type shownUser struct {
	wire.AdminUser
	State string `json:"state"`
}

func show(user wire.AdminUser) shownUser {
	switch {
	case user.Disabled:
		return shownUser{user, stateDisabled}
	case !user.LockedAt.IsZero():
		return shownUser{user, stateLocked}
	}
	return shownUser{user, stateActive}
}

// failures shows the failed logins in a row. An operator's lock says nothing
// about them.
func failures(user wire.AdminUser) string {
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
	return a.admin(command, func(ctx context.Context, api adminAPI, _ []string) error {
		users := []shownUser{}
		more, err := pages(limit, func(query url.Values) (uint, url.Values, error) {
			var page wire.AdminUsers
			if err := api.Get(ctx, wire.PathAdminUsers, query, &page); err != nil {
				return 0, nil, err
			}
			for _, user := range page.Users {
				users = append(users, show(user))
			}
			return uint(len(page.Users)), following("after", page.Next), nil
		})
		if err != nil {
			return adminFailure(err, "user", listUsers)
		}
		if asJSON {
			return a.printJSON(users)
		}
		if len(users) == 0 {
			a.note("there are no users yet; add one: latchkey user add NAME")
			return nil
		}
		rows := [][]string{{"NAME", "STATE", "FAILURES", "PASSWORD SET", "CREATED"}}
		for _, u := range users {
			rows = append(rows, []string{u.Name, u.State, failures(u.AdminUser), a.relative(u.PasswordChangedAt), a.when(u.CreatedAt)})
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
	return a.admin(command, func(ctx context.Context, api adminAPI, args []string) error {
		var found wire.AdminUser
		if err := api.Get(ctx, wire.PathAdminUser, url.Values{"name": {args[0]}}, &found); err != nil {
			return adminFailure(err, userNamed(args[0]), listUsers)
		}
		user := show(found)
		if asJSON {
			return a.printJSON(user)
		}
		var sessions wire.AdminSessions
		if err := api.Get(ctx, wire.PathAdminSessions, url.Values{"user": {user.Name}}, &sessions); err != nil {
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

// following answers the query of the next page, or nil where there is none.
func following(name, next string) url.Values {
	if next == "" {
		return nil
	}
	return url.Values{name: {next}}
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
	command.Flags().BoolVar(yes, "yes", false, "do not ask; needed where there is no terminal")
}

func limitFlag(command *cobra.Command, limit *uint, standard uint) {
	command.Flags().UintVar(limit, "limit", standard, "list at most `N`; 0 lists all")
}

func (a *app) userAllowCommand() *cobra.Command {
	var everything bool
	command := &cobra.Command{
		Use: "allow NAME [RULE...]", Short: "Limit what a user may send through a gateway",
		Long: `
The rules replace those from before, at once. A rule is a method, several with commas
between or *, and a path under /api/, or under /latchkey/hosts/NAME/ for a further host
of the upstream. In the path * stands for one segment, and ** at its end for any number.
What no rule matches is refused with 403 and goes no further.
`,
		Example: `  latchkey user allow dispatch 'GET /api/m2m/v1/devices/**' 'GET,POST /api/m2m/v1/callbacks/*'
  latchkey user allow dispatch --everything`,
		Args: atLeastOne("the user's name"),
	}
	command.Flags().BoolVar(&everything, "everything", false, "lift all limits")
	a.completeArgs(command, 1, a.userNames)
	return a.change(command, func(ctx context.Context, api adminAPI, args []string) error {
		name, rules := args[0], args[1:]
		if everything == (len(rules) > 0) {
			return usage("say either the rules or --everything; nothing was changed")
		}
		if err := api.Post(ctx, wire.PathAdminUserAllow, wire.AdminAllow{Name: name, Allow: rules}, nil); err != nil {
			return adminFailure(err, userNamed(name), listUsers)
		}
		if everything {
			a.note("user %s may send every request", printable(name))
		} else {
			a.note("user %s may send what %d rules match, and nothing else", printable(name), len(rules))
		}
		return nil
	})
}
