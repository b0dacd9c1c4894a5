package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/credential"
)

// maxIdentityBytes bounds a file of age keys.
const maxIdentityBytes = 64 << 10

func (a *app) credentialCommand() *cobra.Command {
	command := &cobra.Command{
		Use: "credential", Short: "Store the upstream's user name and password in a file",
		Long:    "Store the upstream's user name and password in a file for rotate, serve and other programs.",
		Example: "  latchkey credential set --credential-file upstream.json --user zoe",
	}
	command.AddCommand(a.credentialSetCommand())
	return command
}

func (a *app) credentialSetCommand() *cobra.Command {
	var u upstream
	var from passwordSource
	command := &cobra.Command{
		Use: "set", Short: "Write the credential file", Args: exactly(),
		Long: `Write the credential file.

The file is created, or replaced as a whole. Only you may read it. It is encrypted if
--age-key-file names a key that age-keygen has made. The password is not checked now: the
programs that use the file try it at their next login.`,
		Example: `  latchkey credential set --credential-file upstream.json --user zoe
  age-keygen -o upstream.key &&
    latchkey credential set --credential-file upstream.age --age-key-file upstream.key --user zoe`,
	}
	flags := command.Flags()
	flags.SortFlags = false
	u.addPlaceFlags(command)
	flags.StringVar(&u.user, "user", "", "the user's `NAME` at the upstream")
	settings(flags, "user")
	from.addFlags(flags, "the password")
	settings(flags, "password-file")
	a.conf.check(command, from.check)
	command.RunE = func(cmd *cobra.Command, _ []string) error { return a.setCredential(cmd.Context(), &u, &from) }
	return command
}

func (a *app) setCredential(ctx context.Context, u *upstream, from *passwordSource) error {
	if u.user == "" {
		return usage("the user is missing; nothing was written").hint("name it with --user or LATCHKEY_USER")
	}
	store, err := u.store(a)
	if err != nil {
		return err
	}
	before, err := store.Load(ctx)
	if err != nil && !errors.Is(err, credential.ErrNotFound) {
		return fail(exitFailed, "%w", err)
	}
	password, err := a.readPassword(ctx, from, fmt.Sprintf("Password of %s: ", printable(u.user)))
	if err != nil {
		return err
	}
	next := credential.Credential{User: u.user, Password: password, Version: before.Version}
	if _, err := store.Save(ctx, next); err != nil {
		return fail(exitFailed, "%w", err)
	}
	a.note("the credential of %s is in %s", printable(u.user), u.credentialFile)
	return nil
}

// readIdentity reads a file of age secret keys.
func (a *app) readIdentity(path string) (latchkey.Secret, error) {
	text, err := readBounded(path, maxIdentityBytes)
	if err != nil {
		return "", usage("the age key cannot be read: %w; nothing was done", err)
	}
	a.warnReadable(path)
	return latchkey.Secret(text), nil
}
