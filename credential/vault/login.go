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

// Login is how the Store gets the token that its requests carry: Token, AppRole or
// Kubernetes.
type Login interface {
	// request answers the path and the body of the login; a path of "" means that
	// there is none, and token is the token.
	request() (path string, body map[string]string, token latchkey.Secret, err error)
}

// Token is a Login with a token that somebody else renews.
func Token(token latchkey.Secret) Login { return fixed{token} }

type fixed struct{ token latchkey.Secret }

func (f fixed) request() (string, map[string]string, latchkey.Secret, error) {
	if f.token == "" {
		return "", nil, "", errors.New("the token is empty")
	}
	return "", nil, f.token, nil
}

// Format keeps fmt from showing the unexported field.
func (fixed) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("vault.Token")) }

// AppRole is a Login for programs: with a role ID and a secret ID, at auth/approle.
func AppRole(roleID string, secretID latchkey.Secret) Login { return appRole{roleID, secretID} }

type appRole struct {
	roleID   string
	secretID latchkey.Secret
}

func (a appRole) request() (string, map[string]string, latchkey.Secret, error) {
	return "auth/approle/login", map[string]string{"role_id": a.roleID, "secret_id": a.secretID.Reveal()}, "", nil
}

// Format keeps fmt from showing the unexported field.
func (appRole) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("vault.AppRole")) }

// serviceAccountToken is where Kubernetes puts the token of a pod's service account.
const serviceAccountToken = "/var/run/secrets/kubernetes.io/serviceaccount/token" //nolint:gosec // a path

// Kubernetes is a Login for pods: as a role of auth/kubernetes, with the token of
// the pod's service account, which is read anew for each login. tokenPath is where
// it is; "" is where Kubernetes puts it.
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
		return "", nil, "", fmt.Errorf("the token of the service account: %w", err)
	}
	return "auth/kubernetes/login", map[string]string{"role": k.role, "jwt": strings.TrimSpace(string(token))}, "", nil
}

// authorized answers a token: the one that there is, unless it is refused.
func (s *Store) authorized(ctx context.Context, refused latchkey.Secret) (latchkey.Secret, error) {
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
			return "", fmt.Errorf("the login at %s failed: %w", path, err)
		}
	}
	s.token = token
	return token, nil
}

func (s *Store) logIn(ctx context.Context, path string, body map[string]string) (latchkey.Secret, error) {
	answer, status, err := s.send(ctx, http.MethodPost, path, "", body)
	if err != nil {
		return "", err
	}
	if answer.Auth.ClientToken == "" {
		return "", &refusal{status: status, errors: append(answer.Errors, "the answer holds no token")}
	}
	return latchkey.Secret(answer.Auth.ClientToken), nil
}
