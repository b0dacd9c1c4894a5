package admin

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

// maxResponse bounds a response that a Client reads: a full page of the audit trail, with
// room to spare.
const maxResponse = 16 << 20

// Client is a client of the administration API. It has a method for each operation
// (operations.go). An error that the handler reports is an *Error. A Client is safe for
// concurrent use.
type Client struct {
	http  http.Client
	store string // the ID of the Store that requests are meant for; "": any
}

// NewClient returns a client of the server that listens on the socket at path. It does not
// connect. If there is no server, the methods return errors that wrap those of the
// operating system (fs.ErrNotExist, syscall.ECONNREFUSED).
func NewClient(path string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}
	return &Client{http: http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}}
}

// Only returns a client of the same server whose requests are refused if the server has
// another database.
func (c *Client) Only(store Store) *Client {
	return &Client{http: http.Client{Transport: c.http.Transport}, store: store.ID}
}

// Get sends a GET and decodes the response into result.
func (c *Client) Get(ctx context.Context, path string, query url.Values, result any) error {
	return c.do(ctx, http.MethodGet, path, query, nil, result)
}

// Post sends a POST and decodes the response into result, unless that is nil.
func (c *Client) Post(ctx context.Context, path string, body, result any) error {
	encoded, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("encode the request: %w", err)
	}
	return c.do(ctx, http.MethodPost, path, nil, encoded, result)
}

func (c *Client) do(ctx context.Context, method, path string, query url.Values, body []byte, result any) error {
	address := url.URL{Scheme: "http", Host: "latchkey", Path: path, RawQuery: query.Encode()}
	request, err := http.NewRequestWithContext(ctx, method, address.String(), bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", wire.MediaTypeJSON)
	if c.store != "" {
		request.Header.Set(HeaderStore, c.store)
	}
	response, err := c.http.Do(request)
	if err != nil {
		// The *url.Error around it would show a URL that has no meaning to people.
		if inner := errors.Unwrap(err); inner != nil {
			return inner
		}
		return err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxResponse))
	if err != nil {
		return fmt.Errorf("read the server's response: %w", err)
	}
	if response.StatusCode >= http.StatusBadRequest {
		var reported ErrorBody
		if json.Unmarshal(text, &reported) != nil || reported.Error.Code == "" {
			return fmt.Errorf("the server responded %s, without an error that this command knows; "+
				"are both of the same version?", response.Status)
		}
		return &reported.Error
	}
	if result == nil {
		return nil
	}
	if err := json.Unmarshal(text, result); err != nil {
		return fmt.Errorf("the server's response is not what this command expects; "+
			"are both of the same version? %w", err)
	}
	return nil
}
