package credential

import (
	"context"
	"fmt"
	"os"

	"github.com/latchkey/latchkey"
)

// Environment is a Source that reads two environment variables at every Load.
type Environment struct{ user, password string }

var _ Source = (*Environment)(nil)

// NewEnvironment returns the Source that reads the variables with these names. An empty
// variable counts as one that is not set.
func NewEnvironment(userVariable, passwordVariable string) *Environment {
	return &Environment{userVariable, passwordVariable}
}

// Load implements Source.
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
