package vault

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/latchkey/latchkey"
)

// answer is what all answers look like.
type answer struct {
	Data json.RawMessage `json:"data"`
	Auth struct {
		ClientToken string `json:"client_token"`
	} `json:"auth"`
	Errors []string `json:"errors"`
}

// refusal is an answer that says no. Nothing was changed.
type refusal struct {
	status int
	errors []string
}

func (r *refusal) Error() string {
	text := fmt.Sprintf("it answered %d", r.status)
	if len(r.errors) > 0 {
		text += ": " + strings.Join(r.errors, "; ")
	}
	switch r.status {
	case http.StatusForbidden:
		return text + " (does the token's policy allow read, create and update there?)"
	case http.StatusServiceUnavailable:
		return text + " (it is sealed, or a standby without a leader)"
	}
	return text
}

// isConflict reports whether the version was another one than expected.
func (r *refusal) isConflict() bool {
	return r.status == http.StatusBadRequest && strings.Contains(strings.Join(r.errors, " "), "check-and-set")
}

// request sends a request with the token, and reads the data of its answer into
// data, that of a 404 as well. A token that is refused is got anew, once.
func (s *Store) request(ctx context.Context, method, path string, body, data any) (status int, err error) {
	var refused latchkey.Secret
	for {
		token, err := s.authorized(ctx, refused)
		if err != nil {
			return 0, err
		}
		found, status, err := s.send(ctx, method, path, token, body)
		if status == http.StatusForbidden && refused == "" {
			if path, _, _, _ := s.login.request(); path != "" {
				refused = token
				continue
			}
		}
		if err != nil && (status != http.StatusNotFound || method != http.MethodGet) {
			return status, err
		}
		if len(found.Data) > 0 && json.Unmarshal(found.Data, data) != nil {
			return status, errors.New("what it answered cannot be read")
		}
		return status, nil
	}
}

// send sends a request, once. An answer that says no is an error, too.
func (s *Store) send(ctx context.Context, method, path string, token latchkey.Secret, body any) (found answer, status int, err error) {
	var content []byte
	if body != nil {
		content, _ = json.Marshal(body) // maps of texts and numbers
	}
	req, err := http.NewRequestWithContext(ctx, method, s.base.JoinPath("v1", path).String(), bytes.NewReader(content))
	if err != nil {
		return found, 0, errors.New("the request cannot be made")
	}
	req.GetBody = nil // so that nothing sends it again
	req.Header.Set("X-Vault-Request", "true")
	req.Header.Set("Content-Type", "application/json")
	if token != "" {
		req.Header.Set("X-Vault-Token", token.Reveal())
	}
	if s.namespace != "" {
		req.Header.Set("X-Vault-Namespace", s.namespace)
	}
	resp, err := s.http.Do(req)
	if err != nil {
		var wrapped *url.Error
		if errors.As(err, &wrapped) {
			err = wrapped.Err
		}
		return found, 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return found, 0, fmt.Errorf("the answer broke off: %w", err)
	}
	readable := len(text) == 0 || json.Unmarshal(text, &found) == nil
	switch {
	case resp.StatusCode >= 400 || resp.StatusCode < 200 || resp.StatusCode >= 300:
		return found, resp.StatusCode, &refusal{resp.StatusCode, found.Errors}
	case !readable:
		return found, 0, errors.New("what it answered is not JSON")
	}
	return found, resp.StatusCode, nil
}
