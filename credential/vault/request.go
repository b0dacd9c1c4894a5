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

// response is the body of every response.
type response struct {
	Data json.RawMessage `json:"data"`
	Auth struct {
		ClientToken string `json:"client_token"`
	} `json:"auth"`
	Errors []string `json:"errors"`
}

// statusError is a response with an error status. Nothing was changed.
type statusError struct {
	status int
	errors []string
}

func (r *statusError) Error() string {
	text := fmt.Sprintf("status %d", r.status)
	if len(r.errors) > 0 {
		text += ": " + strings.Join(r.errors, "; ")
	}
	if r.status == http.StatusServiceUnavailable {
		text += " (Vault is sealed, or is a standby without a leader)"
	}
	return text
}

// Hint returns what to do.
func (r *statusError) Hint() string {
	if r.status == http.StatusForbidden {
		return "The policy of the token must allow read, create and update of the path."
	}
	return ""
}

// isConflict reports whether the version was not the expected one.
func (r *statusError) isConflict() bool {
	return r.status == http.StatusBadRequest && strings.Contains(strings.Join(r.errors, " "), "check-and-set")
}

// request sends a request with the token and unmarshals the data of the response, also of a
// 404, into data. If the token is refused, request logs in again and repeats the request
// once.
func (s *Store) request(ctx context.Context, method, path string, body, data any) (status int, err error) {
	var refused latchkey.Secret
	for {
		token, err := s.currentToken(ctx, refused)
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
			return status, errors.New("the response has an unexpected form")
		}
		return status, nil
	}
}

// send sends a request once. The error is a *statusError if the status is not 2xx.
func (s *Store) send(
	ctx context.Context, method, path string, token latchkey.Secret, body any,
) (found response, status int, err error) {
	var content []byte
	if body != nil {
		content, _ = json.Marshal(body) // maps of strings and numbers cannot fail
	}
	req, err := http.NewRequestWithContext(ctx, method, s.base.JoinPath("v1", path).String(), bytes.NewReader(content))
	if err != nil {
		return found, 0, errors.New("cannot make the request")
	}
	req.GetBody = nil // so that the transport cannot send it again
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
		if wrapped, ok := errors.AsType[*url.Error](err); ok {
			err = wrapped.Err
		}
		return found, 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxResponse))
	if err != nil {
		return found, 0, fmt.Errorf("read the response: %w", err)
	}
	readable := len(text) == 0 || json.Unmarshal(text, &found) == nil
	switch {
	case resp.StatusCode < 200 || resp.StatusCode >= 300:
		return found, resp.StatusCode, &statusError{resp.StatusCode, found.Errors}
	case !readable:
		return found, 0, errors.New("the response is not JSON")
	}
	return found, resp.StatusCode, nil
}
