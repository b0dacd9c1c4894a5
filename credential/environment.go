package credential

import (
	"context"
	"fmt"
	"os"

	"github.com/latchkey/latchkey"
)

// Environment is a read-only Store in two variables of the environment. They are
// read at every Load.
type Environment struct{ user, password string }

var _ Store = (*Environment)(nil)

// NewEnvironment answers the Store in the variables of these names. An empty
// variable is as good as none.
func NewEnvironment(userVariable, passwordVariable string) *Environment {
	return &Environment{userVariable, passwordVariable}
}

// Load implements Store.
func (e *Environment) Load(ctx context.Context) (Credential, error) {
	if err := ctx.Err(); err != nil {
		return Credential{}, fmt.Errorf("credential: environment: %w", err)
	}
	c := Credential{User: os.Getenv(e.user), Password: latchkey.Secret(os.Getenv(e.password))}
	for name, value := range map[string]latchkey.Secret{e.user: latchkey.Secret(c.User), e.password: c.Password} {
		if value == "" {
			return Credential{}, fmt.Errorf("credential: environment: the variable %s is not set: %w", name, ErrNotFound)
		}
	}
	if err := c.Check(); err != nil {
		return Credential{}, fmt.Errorf("credential: environment: variables %s and %s: %w", e.user, e.password, err)
	}
	return c, nil
}

// Save implements Store, and always answers ErrReadOnly.
func (e *Environment) Save(context.Context, Credential) (string, error) {
	return "", fmt.Errorf("credential: environment variables %s and %s: %w", e.user, e.password, ErrReadOnly)
}
