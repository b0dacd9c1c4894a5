package keeper

import (
	"context"
	"fmt"
	"io"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/credential"
)

// CredentialSource is where the credential is kept. It is asked before each
// login, so a change there takes effect without a restart. It must be safe for
// concurrent use, and bound its own time as well as heeding ctx.
//
// Each credential.Store is one; with a Store that can be written, the keeper can
// rotate the password (Keeper.Rotate).
type CredentialSource interface {
	Load(ctx context.Context) (credential.Credential, error)
}

// Static is a CredentialSource that always answers the same.
func Static(user string, password latchkey.Secret) CredentialSource {
	return static{credential.Credential{User: user, Password: password}}
}

type static struct{ credential credential.Credential }

func (s static) Load(context.Context) (credential.Credential, error) { return s.credential, nil }

// Format implements fmt.Formatter, because fmt would show the unexported field.
func (static) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "keeper.Static") }
