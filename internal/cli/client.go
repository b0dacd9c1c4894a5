package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/latchkey/latchkey/internal/admin"
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
		Use: "add LABEL", Short: "Create an API key and its secret", Args: exactly("a label for the client"),
		Long:    "\nThe secret is printed only once and not stored.\n",
		Example: "  latchkey client add billing\n  latchkey client add billing --json",
	}
	jsonFlag(command, &asJSON)
	return a.change(command, func(ctx context.Context, api *admin.Client, args []string) error {
		made, err := api.AddAPIClient(ctx, args[0])
		if err != nil {
			return adminFailure(err, "API client", listClients)
		}
		return a.printCredentials(made, asJSON,
			fmt.Sprintf("API client %s was added; its secret is shown only once:", printable(args[0])))
	})
}

func (a *app) clientRotateCommand() *cobra.Command {
	var asJSON bool
	command := &cobra.Command{
		Use: "rotate KEY", Short: "Replace the secret of an API key", Args: exactly("the API key"),
		Long: `
The old secret and the access token become invalid immediately. If only one client has a
label, you may give the label instead of the key.
`,
		Example: "  latchkey client rotate 3f6c0b1ad2e94c55a7b8e0d1",
	}
	jsonFlag(command, &asJSON)
	a.completeArgs(command, 1, a.apiKeys)
	return a.change(command, func(ctx context.Context, api *admin.Client, args []string) error {
		client, err := a.keyOf(ctx, api, args[0], false)
		if err != nil {
			return err
		}
		made, err := api.RotateAPIClient(ctx, client.Key)
		if err != nil {
			return adminFailure(err, clientNamed(args[0]), listClients)
		}
		return a.printCredentials(made, asJSON, "the old secret is no longer valid; the new one is shown only once:")
	})
}

func (a *app) clientRevokeCommand() *cobra.Command {
	var yes bool
	command := &cobra.Command{
		Use: "revoke KEY...", Short: "Revoke an API key permanently", Args: atLeastOne("the API key"),
		Long: `
Sessions that were started with the key continue, for clients with another key. If only
one client has a label, you may give the label instead of the key.
`,
		Example: "  latchkey client revoke 3f6c0b1ad2e94c55a7b8e0d1\n  latchkey client revoke --yes billing",
	}
	yesFlag(command, &yes)
	a.completeArgs(command, anyNumber, a.apiKeys)
	return a.change(command, func(ctx context.Context, api *admin.Client, args []string) error {
		clients := make([]admin.APIClient, len(args))
		for i, name := range args { // a key that does not exist is reported before the first question
			var err error
			if clients[i], err = a.keyOf(ctx, api, name, false); err != nil {
				return err
			}
		}
		for _, client := range clients {
			question := fmt.Sprintf("Revoke API key %s (%s) permanently?", printable(client.Key), printable(client.Label))
			if err := a.confirmChange(ctx, yes, question); err != nil {
				return err
			}
			if err := api.RevokeAPIClient(ctx, client.Key); err != nil {
				return adminFailure(err, clientNamed(client.Key), listClients)
			}
			a.note("API key %s (%s) is revoked", printable(client.Key), printable(client.Label))
		}
		return nil
	})
}

// keyOf returns the API client that has a key, or the only one that has a label.
func (a *app) keyOf(ctx context.Context, api *admin.Client, name string, revokedToo bool) (admin.APIClient, error) {
	clients, err := api.APIClients(ctx)
	if err != nil {
		return admin.APIClient{}, adminFailure(err, "API client", listClients)
	}
	var labeled []admin.APIClient
	for _, client := range clients {
		switch {
		case client.Revoked && !revokedToo:
		case client.Key == name:
			return client, nil
		case client.Label == name:
			labeled = append(labeled, client)
		}
	}
	switch {
	case len(labeled) == 1:
		return labeled[0], nil
	case len(labeled) > 1:
		return admin.APIClient{}, fail(exitRefused, "%d API clients have the label %q; nothing was changed",
			len(labeled), name).hint("give the key of one of them; see: %s", listClients)
	case revokedToo:
		return admin.APIClient{}, fail(exitRefused, "there is no API key %q", name).hint("see: %s", listClients)
	}
	return admin.APIClient{}, fail(exitRefused, "there is no %s; nothing was changed", clientNamed(name)).
		hint("see: %s", listClients)
}

func clientNamed(key string) string { return fmt.Sprintf("API key %q that is not revoked", key) }

// printCredentials prints a key and its secret as the environment variables of the client
// commands.
func (a *app) printCredentials(made admin.Credentials, asJSON bool, words string) error {
	if asJSON {
		return a.tellJSON(made)
	}
	a.note("%s", words)
	return a.tell(fmt.Sprintf("LATCHKEY_API_KEY=%s\nLATCHKEY_API_SECRET=%s\n", made.Key, made.Secret))
}

func (a *app) clientListCommand() *cobra.Command {
	var asJSON bool
	command := &cobra.Command{
		Use: "list", Short: "List API clients", Args: exactly(),
		Example: "  latchkey client list\n  latchkey client list --json",
	}
	jsonFlag(command, &asJSON)
	return a.admin(command, func(ctx context.Context, api *admin.Client, _ []string) error {
		clients, err := api.APIClients(ctx)
		if err != nil {
			return adminFailure(err, "API client", listClients)
		}
		if asJSON {
			return a.printJSON(clients)
		}
		if len(clients) == 0 {
			a.note("there are no API clients; add one: latchkey client add LABEL")
			return nil
		}
		rows := [][]string{{"KEY", "LABEL", "STATE", "LAST TOKEN", "CREATED"}}
		for _, c := range clients {
			state := stateActive
			if c.Revoked {
				state = stateRevoked
			}
			token := "-"
			if !c.TokenIssuedAt.IsZero() {
				token = a.relative(c.TokenIssuedAt)
			}
			rows = append(rows, []string{c.Key, c.Label, state, token, a.when(c.CreatedAt)})
		}
		a.table(rows, "KEY", "CREATED", "LAST TOKEN")
		return nil
	})
}
