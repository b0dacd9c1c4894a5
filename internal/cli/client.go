package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/latchkey/latchkey/internal/wire"
)

const listClients = "latchkey client list"

func (a *app) clientCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "client",
		Short: "Add, list, rotate and revoke API clients",
		Long: `Manage the API clients of a latchkey service: the programs that may call it, each
with an API key and a secret.
` + adminHelp,
		Example: `  latchkey client add billing
  latchkey client list`,
	}
	command.AddCommand(a.clientAddCommand(), a.clientListCommand(), a.clientRotateCommand(), a.clientRevokeCommand())
	return command
}

func (a *app) clientAddCommand() *cobra.Command {
	var asJSON bool
	command := &cobra.Command{
		Use: "add LABEL", Short: "Make an API key and its secret", Args: exactly("a label, what you call the client"),
		Long:    "\nThe secret is printed this once and kept nowhere.\n",
		Example: "  latchkey client add billing\n  latchkey client add billing --json",
	}
	jsonFlag(command, &asJSON)
	return a.change(command, func(ctx context.Context, api adminAPI, args []string) error {
		var made wire.AdminCredentials
		if err := api.Post(ctx, wire.PathAdminClientAdd, wire.AdminLabel{Label: args[0]}, &made); err != nil {
			return adminFailure(err, "API client", listClients)
		}
		return a.printCredentials(made, asJSON, fmt.Sprintf("API client %s was added; its secret is told this once:", printable(args[0])))
	})
}

func (a *app) clientRotateCommand() *cobra.Command {
	var asJSON bool
	command := &cobra.Command{
		Use: "rotate KEY", Short: "Give an API key another secret", Args: exactly("the API key"),
		Long:    "\nThe old secret and the access token end at once.\n",
		Example: "  latchkey client rotate 3f6c0b1ad2e94c55a7b8e0d1",
	}
	jsonFlag(command, &asJSON)
	return a.change(command, func(ctx context.Context, api adminAPI, args []string) error {
		var made wire.AdminCredentials
		if err := api.Post(ctx, wire.PathAdminClientRotate, wire.AdminKey{Key: args[0]}, &made); err != nil {
			return adminFailure(err, clientNamed(args[0]), listClients)
		}
		return a.printCredentials(made, asJSON, "the old secret has ended; the new one is told this once:")
	})
}

func (a *app) clientRevokeCommand() *cobra.Command {
	return a.change(&cobra.Command{
		Use: "revoke KEY...", Short: "End an API key for good", Args: atLeastOne("the API key"),
		Long:    "\nSessions that were opened through it live on, for clients with a key of their own.\n",
		Example: "  latchkey client revoke 3f6c0b1ad2e94c55a7b8e0d1",
	}, func(ctx context.Context, api adminAPI, keys []string) error {
		for _, key := range keys {
			if err := api.Post(ctx, wire.PathAdminClientRevoke, wire.AdminKey{Key: key}, nil); err != nil {
				return adminFailure(err, clientNamed(key), listClients)
			}
			a.note("API key %s is revoked", printable(key))
		}
		return nil
	})
}

func clientNamed(key string) string { return fmt.Sprintf("API key %q that is not revoked", key) }

// printCredentials prints a key and its secret in the form of the variables that
// the client commands read.
func (a *app) printCredentials(made wire.AdminCredentials, asJSON bool, words string) error {
	if asJSON {
		return a.printJSON(made)
	}
	a.note("%s", words)
	return a.print("LATCHKEY_API_KEY=%s\nLATCHKEY_API_SECRET=%s", made.Key, made.Secret)
}

func (a *app) clientListCommand() *cobra.Command {
	var asJSON bool
	command := &cobra.Command{
		Use: "list", Short: "List API clients", Args: exactly(),
		Example: "  latchkey client list\n  latchkey client list --json",
	}
	jsonFlag(command, &asJSON)
	return a.admin(command, func(ctx context.Context, api adminAPI, _ []string) error {
		var list wire.AdminClients
		if err := api.Get(ctx, wire.PathAdminClients, nil, &list); err != nil {
			return adminFailure(err, "API client", listClients)
		}
		if asJSON {
			return a.printJSON(list.Clients)
		}
		if len(list.Clients) == 0 {
			a.note("there are no API clients yet; add one: latchkey client add LABEL")
			return nil
		}
		rows := [][]string{{"KEY", "LABEL", "STATE", "LAST TOKEN", "CREATED"}}
		for _, c := range list.Clients {
			state := stateActive
			if c.Revoked {
				state = stateRevoked
			}
			token := "-"
			if !c.TokenIssuedAt.IsZero() {
				token = a.relative(c.TokenIssuedAt)
			}
			rows = append(rows, []string{c.Key, c.Label, state, token, a.moment(c.CreatedAt)})
		}
		a.table(rows)
		return nil
	})
}
