package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/latchkey/latchkey/internal/admin"
)

const listSessions = "latchkey session list"

func (a *app) sessionCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "session",
		Short: "List and end sessions",
		Long: `List and end the sessions of a latchkey service. The ID of a session is public and gives
no access. Not even the service knows the token of a session.
` + adminHelp,
		Example: `  latchkey session list
  latchkey session end 5f0c9a7e21d34b68
  latchkey session end --all --user zoe`,
	}
	command.AddCommand(a.sessionListCommand(), a.sessionEndCommand())
	return command
}

// shownSession is a session as `--json` shows it.
type shownSession struct {
	admin.Session
	State string `json:"state"`
}

func (a *app) sessionListCommand() *cobra.Command {
	var asJSON, ended bool
	var user string
	var limit uint
	command := &cobra.Command{
		Use: "list", Short: "List sessions, newest first", Args: exactly(),
		Long:    "Ended sessions are kept for 30 days. --ended lists them, too.\n",
		Example: "  latchkey session list\n  latchkey session list --user zoe --ended --json",
	}
	flags := command.Flags()
	flags.StringVar(&user, "user", "", "only the sessions of the user `NAME`")
	flags.BoolVar(&ended, "ended", false, "list sessions that have ended as well")
	a.completeFlag(command, "user", a.userNames)
	jsonFlag(command, &asJSON)
	limitFlag(command, &limit, 100)
	return a.admin(command, func(ctx context.Context, api *admin.Client, _ []string) error {
		sessions := []shownSession{}
		more, err := pages(limit, func(before string, size int) (uint, string, error) {
			page, err := api.Sessions(ctx, admin.SessionQuery{User: user, Ended: ended, Before: before, Limit: size})
			if err != nil {
				return 0, "", err
			}
			for _, session := range page.Sessions {
				sessions = append(sessions, shownSession{session, a.sessionState(session)})
			}
			return uint(len(page.Sessions)), page.Next, nil
		})
		if err != nil {
			return adminFailure(err, "session", listSessions)
		}
		if asJSON {
			return a.printJSON(sessions)
		}
		if len(sessions) == 0 {
			a.note("there are no sessions to show")
			return nil
		}
		rows := [][]string{{"ID", "USER", "STATE", "CLIENT", "ADDRESS", "LAST USED", "STARTED"}}
		for _, s := range sessions {
			state := s.State
			if s.EndReason != "" {
				state += ": " + s.EndReason
			}
			rows = append(rows, []string{
				s.ID, s.User, state, s.Client, s.Address, a.relative(s.LastUsedAt), a.when(s.CreatedAt),
			})
		}
		a.table(rows, "ID", "CLIENT", "ADDRESS", "STARTED")
		a.noteMore(more)
		return nil
	})
}

// sessionState returns the state of a session at this time. It compares the times,
// because an expired session is not marked as ended until the next sweep.
func (a *app) sessionState(session admin.Session) string {
	now := a.Now()
	over := !session.EndedAt.IsZero() || !session.IdleAfter.After(now) ||
		!session.ExpiresAt.IsZero() && !session.ExpiresAt.After(now)
	if over {
		return stateEnded
	}
	return stateLive
}

func (a *app) sessionEndCommand() *cobra.Command {
	var all, yes bool
	var user string
	command := &cobra.Command{
		Use: "end ID... | --all [--user NAME]", Short: "End sessions",
		Long: "When the command returns, the service refuses their tokens.\n",
		Example: `  latchkey session end 5f0c9a7e21d34b68
  latchkey session end --all --user zoe
  latchkey session end --all --yes`,
		Args: cobra.ArbitraryArgs,
		PreRunE: func(_ *cobra.Command, ids []string) error {
			switch {
			case !all && user != "":
				return usage("--user requires --all; nothing was ended").
					hint("latchkey session end --all --user %s", shellQuote(user))
			case all && len(ids) > 0:
				return usage("the IDs of sessions and --all exclude each other; nothing was ended")
			case !all && len(ids) == 0:
				return usage("the ID of a session is missing; nothing was ended").hint("see: %s", listSessions)
			}
			return nil
		},
	}
	command.Flags().BoolVar(&all, "all", false, "end all sessions, or with --user all of one user")
	command.Flags().StringVar(&user, "user", "", "with --all: only the sessions of the user `NAME`")
	a.completeFlag(command, "user", a.userNames)
	a.completeArgs(command, anyNumber, a.sessionIDs)
	yesFlag(command, &yes)
	return a.change(command, func(ctx context.Context, api *admin.Client, ids []string) error {
		if all {
			return a.endAll(ctx, api, user, yes)
		}
		for _, id := range ids {
			if err := api.EndSession(ctx, id); err != nil {
				return adminFailure(err, fmt.Sprintf("live session %q", id), listSessions)
			}
			a.note("session %s has ended", printable(id))
		}
		return nil
	})
}

// endAll ends all sessions of a user, or of all users.
func (a *app) endAll(ctx context.Context, api *admin.Client, user string, yes bool) error {
	question, users := "End all sessions of all users?", []string{}
	if user != "" {
		question, users = fmt.Sprintf("End all sessions of user %s?", printable(user)), []string{user}
	}
	if err := a.confirmChange(ctx, yes, question); err != nil {
		return err
	}
	if user == "" {
		_, err := pages(0, func(after string, size int) (uint, string, error) {
			page, err := api.Users(ctx, after, size)
			for _, found := range page.Users {
				users = append(users, found.Name)
			}
			return uint(len(page.Users)), page.Next, err
		})
		if err != nil {
			return adminFailure(err, "user", listUsers)
		}
	}
	total := 0
	for _, name := range users {
		ended, err := api.EndUserSessions(ctx, name)
		if err != nil {
			return adminFailure(err, userNamed(name), listUsers)
		}
		total += ended
	}
	if total == 1 {
		a.note("1 session has ended")
	} else {
		a.note("%d sessions have ended", total)
	}
	return nil
}
