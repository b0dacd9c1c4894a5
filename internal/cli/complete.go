package cli

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/latchkey/latchkey/internal/admin"
)

// completionPatience bounds how long a completion may take.
const completionPatience = time.Second

// anyNumber marks arguments that may be repeated.
const anyNumber = -1

// lister returns the completions of prefix. Each may have a description after a tab.
type lister func(ctx context.Context, api *admin.Client, prefix string) []string

// completeArgs completes the first n arguments of an admin command from list.
func (a *app) completeArgs(command *cobra.Command, n int, list lister) {
	command.ValidArgsFunction = func(
		cmd *cobra.Command, args []string, prefix string,
	) ([]string, cobra.ShellCompDirective) {
		if n != anyNumber && len(args) >= n {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return a.complete(cmd, list, prefix, args)
	}
}

// completeFlag completes the value of a flag of an admin command from list.
func (a *app) completeFlag(command *cobra.Command, flag string, list lister) {
	_ = command.RegisterFlagCompletionFunc(flag, func(
		cmd *cobra.Command, _ []string, prefix string,
	) ([]string, cobra.ShellCompDirective) {
		return a.complete(cmd, list, prefix, nil)
	}) // cannot fail: the caller has just registered the flag
}

// complete returns completions from the running server, without the words in but. On any
// error it returns none.
func (a *app) complete(
	cmd *cobra.Command, list lister, prefix string, but []string,
) ([]string, cobra.ShellCompDirective) {
	const nothing = cobra.ShellCompDirectiveNoFileComp
	store := a.stores[cmd]
	parent := cmd.Context()
	if parent == nil {
		parent = context.Background()
	}
	ctx, cancel := context.WithTimeout(parent, completionPatience)
	defer cancel()
	cmd.SetContext(ctx)
	if store == nil || a.conf.resolve(cmd) != nil {
		return nil, nothing
	}
	client, done, err := dialAdmin(ctx, store.SocketPath())
	if err != nil || client == nil {
		return nil, nothing
	}
	defer func() { _ = done() }()
	api, err := a.agreeOnStore(cmd, client, store)
	if err != nil {
		return nil, nothing
	}
	found := list(ctx, api, prefix)
	return slices.DeleteFunc(found, func(offer string) bool {
		word, _, _ := strings.Cut(offer, "\t")
		return !strings.HasPrefix(word, prefix) || slices.Contains(but, word) || strings.ContainsAny(word, "\r\n")
	}), nothing
}

// described returns a completion of word with the non-empty parts as its description.
func described(word string, parts ...string) string {
	return word + "\t" + strings.Join(slices.DeleteFunc(parts, func(p string) bool { return p == "" }), ", ")
}

func (a *app) userNames(ctx context.Context, api *admin.Client, prefix string) (names []string) {
	if prefix != "" {
		if exact, err := api.User(ctx, prefix); err == nil {
			names = append(names, described(exact.Name, show(exact).State))
		}
	}
	// Names are sorted, so those with the prefix come first.
	page, err := api.Users(ctx, prefix, admin.MaxPage)
	if err != nil {
		return names
	}
	for _, user := range page.Users {
		names = append(names, described(user.Name, show(user).State))
	}
	return names
}

// apiKeys returns the API keys and, if prefix is not empty, the unique labels.
func (a *app) apiKeys(ctx context.Context, api *admin.Client, prefix string) (offers []string) {
	clients, err := api.APIClients(ctx)
	if err != nil {
		return nil
	}
	labels := map[string]int{}
	for _, client := range clients {
		if !client.Revoked {
			labels[client.Label]++
			offers = append(offers, described(client.Key, client.Label))
		}
	}
	for _, client := range clients {
		if !client.Revoked && labels[client.Label] == 1 && prefix != "" {
			offers = append(offers, described(client.Label, client.Key))
		}
	}
	return offers
}

func (a *app) sessionIDs(ctx context.Context, api *admin.Client, _ string) (offers []string) {
	page, err := api.Sessions(ctx, admin.SessionQuery{Limit: admin.MaxPage})
	if err != nil {
		return nil
	}
	for _, session := range page.Sessions {
		offers = append(offers, described(session.ID, session.User, "used "+a.relative(session.LastUsedAt)))
	}
	return offers
}

// completeLogins completes the flags of a client command from the stored logins.
func completeLogins(command *cobra.Command) {
	for flag, value := range map[string]func(*login) string{
		"user":    func(l *login) string { return l.User },
		"url":     func(l *login) string { return l.URL },
		"api-key": func(l *login) string { return l.APIKey },
	} {
		_ = command.RegisterFlagCompletionFunc(flag, func(
			*cobra.Command, []string, string,
		) ([]string, cobra.ShellCompDirective) {
			var offers []string
			s, err := readState()
			if err == nil {
				for _, l := range s.Logins {
					if offer := value(l); offer != "" && !slices.Contains(offers, offer) {
						offers = append(offers, offer)
					}
				}
			}
			return offers, cobra.ShellCompDirectiveNoFileComp
		}) // cannot fail: the caller has just registered the flag
	}
}
