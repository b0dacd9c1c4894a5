package cli

import (
	"github.com/spf13/cobra"

	"github.com/latchkey/latchkey/internal/wire"
)

const (
	accessToken  = "access"
	sessionToken = "session"
)

func (a *app) tokenCommand() *cobra.Command {
	var e endpoint
	var header bool
	command := &cobra.Command{
		Use: "token [access|session]", Short: "Print the tokens for other programs",
		Long: `
token prints the access token, the session token, or without an argument both, the access
token first. With --header it prints them as header lines. curl reads such lines from
standard input, which keeps the tokens out of the list of processes. The service returns
the same access token for an hour from its first issue.
`,
		Example: `  latchkey token --header |
    curl -s -H @- https://thingspace.verizon.com/api/m2m/v1/accounts/0000123456-00001
  latchkey token session`,
		ValidArgs: []string{accessToken, sessionToken},
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 || len(args) == 1 && args[0] != accessToken && args[0] != sessionToken {
				return usage("the argument is access or session, or missing for both").hint("usage: %s", cmd.UseLine())
			}
			return nil
		},
	}
	e.addFlags(a, command)
	command.Flags().BoolVar(&header, "header", false, "print header lines")
	command.RunE = func(cmd *cobra.Command, args []string) error {
		if err := e.resolve(a, cmd, len(args) == 0 || args[0] == sessionToken); err != nil {
			return err
		}
		return a.token(cmd, &e, args, header)
	}
	return command
}

func (a *app) token(cmd *cobra.Command, e *endpoint, args []string, header bool) error {
	lead := func(name string) string {
		if header {
			return name
		}
		return ""
	}
	ctx := cmd.Context()
	if len(args) == 0 || args[0] == accessToken {
		client, err := a.client(ctx, e)
		if err != nil {
			return err
		}
		token, err := client.AccessToken(ctx)
		if err != nil {
			return explain(err, e.url, "nothing was changed")
		}
		if err := a.print("%s%s", lead("Authorization: "+wire.TokenTypeBearer+" "), token.Token.Reveal()); err != nil {
			return err
		}
	}
	if len(args) == 0 || args[0] == sessionToken {
		if err := a.print("%s%s", lead(wire.HeaderSessionToken+": "), e.stored.SessionToken); err != nil {
			return err
		}
		// The caller is about to use the token.
		return e.touch(ctx, func(l *login) { l.LastUsedAt = a.Now().UTC() })
	}
	return nil
}
