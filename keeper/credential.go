package keeper

import (
	"context"
	"fmt"
	"io"

	"github.com/latchkey/latchkey"
)

// Credential is a user name of the upstream and its password.
type Credential struct {
	User     string
	Password latchkey.Secret
}

// CredentialSource is where the credential is kept. It is asked before each
// login, so a change there takes effect without a restart. It must be safe for
// concurrent use, and bound its own time as well as heeding ctx.
type CredentialSource interface {
	Credential(ctx context.Context) (Credential, error)
}

// Static is a CredentialSource that always answers the same.
func Static(user string, password latchkey.Secret) CredentialSource {
	return static{Credential{User: user, Password: password}}
}

type static struct{ credential Credential }

func (s static) Credential(context.Context) (Credential, error) { return s.credential, nil }

// Format implements fmt.Formatter, because fmt would show the unexported field.
func (static) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "keeper.Static") }
