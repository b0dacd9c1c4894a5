package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"

	"github.com/latchkey/latchkey/internal/wire"
)

// maxAdminAnswer bounds what an AdminClient reads: a full page of the audit
// trail, with room to spare.
const maxAdminAnswer = 16 << 20

// AdminClient speaks the admin API to the server behind a socket. The paths and
// bodies are those of wire/admin.go. A refusal is a *wire.AdminError. It is safe
// for concurrent use.
type AdminClient struct {
	http  http.Client
	store string // the ID of the only database that is meant; "": any
}

// NewAdminClient returns a client for the socket at path. It does not connect
// yet; where nobody listens, calls fail with an error that wraps what the
// operating system said (fs.ErrNotExist, syscall.ECONNREFUSED).
func NewAdminClient(path string) *AdminClient {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}
	return &AdminClient{http: http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}}
}

// Only returns a client for the same socket whose requests are refused by a server
// with another database.
func (c *AdminClient) Only(store wire.AdminStore) *AdminClient {
	return &AdminClient{http: http.Client{Transport: c.http.Transport}, store: store.ID}
}

// Get asks for what is at path and decodes it into answer.
func (c *AdminClient) Get(ctx context.Context, path string, query url.Values, answer any) error {
	return c.do(ctx, http.MethodGet, path, query, nil, answer)
}

// Post makes a change and decodes what comes of it into answer, which is nil for
// changes that answer nothing.
func (c *AdminClient) Post(ctx context.Context, path string, body, answer any) error {
	encoded, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("encode the request: %w", err)
	}
	return c.do(ctx, http.MethodPost, path, nil, encoded, answer)
}

func (c *AdminClient) do(ctx context.Context, method, path string, query url.Values, body []byte, answer any) error {
	address := url.URL{Scheme: "http", Host: "latchkey", Path: path, RawQuery: query.Encode()}
	request, err := http.NewRequestWithContext(ctx, method, address.String(), bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", wire.MediaTypeJSON)
	if c.store != "" {
		request.Header.Set(wire.HeaderAdminStore, c.store)
	}
	response, err := c.http.Do(request)
	if err != nil {
		// The wrapping *url.Error would name a URL that means nothing to anybody.
		if inner := errors.Unwrap(err); inner != nil {
			return inner
		}
		return err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAdminAnswer))
	if err != nil {
		return fmt.Errorf("read the server's answer: %w", err)
	}
	if response.StatusCode >= http.StatusBadRequest {
		var refusal wire.AdminErrorBody
		if json.Unmarshal(text, &refusal) != nil || refusal.Error.Code == "" {
			return fmt.Errorf("the server answered %s and nothing that this command understands; are both of the same version?", response.Status)
		}
		return &refusal.Error
	}
	if answer == nil {
		return nil
	}
	if err := json.Unmarshal(text, answer); err != nil {
		return fmt.Errorf("the server's answer is not what this command understands; are both of the same version? %w", err)
	}
	return nil
}
