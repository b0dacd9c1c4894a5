package keeper

import (
	"context"
	"fmt"
	"io"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/credential"
	"github.com/latchkey/latchkey/keeper/internal/ledger"
)

// Static returns a credential.Source whose credential never changes.
func Static(user string, password latchkey.Secret) credential.Source {
	return static{credential.Credential{User: user, Password: password}}
}

type static struct{ credential credential.Credential }

func (s static) Load(context.Context) (credential.Credential, error) { return s.credential, nil }

// Format implements fmt.Formatter. Without it fmt would write the unexported field.
func (static) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "keeper.Static") }

// loadCredential reads the credential.
func (k *Keeper) loadCredential(ctx context.Context) (credential.Credential, error) {
	c, err := k.config.Credential.Load(ctx)
	if err != nil {
		return credential.Credential{}, fmt.Errorf("keeper: load credential: %w", err)
	}
	return c, nil
}

// forLedger returns c without its version.
func forLedger(c credential.Credential) ledger.Credential {
	return ledger.Credential{User: c.User, Password: c.Password.Reveal()}
}
