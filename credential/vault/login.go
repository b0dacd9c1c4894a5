package vault

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"

	"github.com/latchkey/latchkey"
)

// Login is how the Store gets its token: Token, AppRole or Kubernetes.
type Login interface {
	// request returns the path and the body of the login request. If path is "", there is
	// none, and token is the token.
	request() (path string, body map[string]string, token latchkey.Secret, err error)
}

// Token is a Login with a token that is renewed elsewhere.
func Token(token latchkey.Secret) Login { return fixed{token} }

type fixed struct{ token latchkey.Secret }

func (f fixed) request() (string, map[string]string, latchkey.Secret, error) {
	if f.token == "" {
		return "", nil, "", errors.New("the token is empty")
	}
	return "", nil, f.token, nil
}

// Format implements fmt.Formatter. It hides the unexported field.
func (fixed) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("vault.Token")) }

// AppRole is a Login for programs, with a role ID and a secret ID, at auth/approle.
func AppRole(roleID string, secretID latchkey.Secret) Login { return appRole{roleID, secretID} }

type appRole struct {
	roleID   string
	secretID latchkey.Secret
}

func (a appRole) request() (string, map[string]string, latchkey.Secret, error) {
	return "auth/approle/login", map[string]string{"role_id": a.roleID, "secret_id": a.secretID.Reveal()}, "", nil
}

// Format implements fmt.Formatter. It hides the unexported field.
func (appRole) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("vault.AppRole")) }

// serviceAccountToken is the default path of the token of a pod's service account.
const serviceAccountToken = "/var/run/secrets/kubernetes.io/serviceaccount/token" //nolint:gosec // a path

// Kubernetes is a Login for pods, with a role of auth/kubernetes and the token of the pod's
// service account, which is read from tokenPath before each login. If tokenPath is "", the
// default path of Kubernetes is used.
func Kubernetes(role, tokenPath string) Login {
	if tokenPath == "" {
		tokenPath = serviceAccountToken
	}
	return kubernetes{role, tokenPath}
}

type kubernetes struct{ role, tokenPath string }

func (k kubernetes) request() (string, map[string]string, latchkey.Secret, error) {
	token, err := os.ReadFile(k.tokenPath)
	if err != nil {
		return "", nil, "", fmt.Errorf("read the token of the service account: %w", err)
	}
	return "auth/kubernetes/login", map[string]string{"role": k.role, "jwt": strings.TrimSpace(string(token))}, "", nil
}

// currentToken returns the cached token, or a new one if there is none or it is refused.
func (s *Store) currentToken(ctx context.Context, refused latchkey.Secret) (latchkey.Secret, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.token != "" && !s.token.Equal(refused) {
		return s.token, nil
	}
	path, body, token, err := s.login.request()
	if err != nil {
		return "", err
	}
	if path != "" {
		if token, err = s.logIn(ctx, path, body); err != nil {
			return "", fmt.Errorf("log in at %s: %w", path, err)
		}
	}
	s.token = token
	return token, nil
}

func (s *Store) logIn(ctx context.Context, path string, body map[string]string) (latchkey.Secret, error) {
	found, status, err := s.send(ctx, http.MethodPost, path, "", body)
	if err != nil {
		return "", err
	}
	if found.Auth.ClientToken == "" {
		return "", &statusError{status: status, errors: append(found.Errors, "the response has no token")}
	}
	return latchkey.Secret(found.Auth.ClientToken), nil
}
