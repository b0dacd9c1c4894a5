package latchkey

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/latchkey/latchkey/internal/wire"
)

// maxLoggedPath bounds the path in a line of the log. The paths of the API are shorter.
const maxLoggedPath = 256

// logResponse writes the line of an operation whose response was read; resp may be nil.
func (c *Client) logResponse(ctx context.Context, r *request, began time.Time, a *response, err error) {
	if a == nil {
		c.log(ctx, r, began, nil, err)
		return
	}
	c.log(ctx, r, began, &http.Response{StatusCode: a.status, Header: a.header}, err)
}

// refuse logs and returns the error for an operation that the Client does not send.
func (c *Client) refuse(ctx context.Context, r *request, problem string) error {
	err := refuse(r.op, problem)
	c.log(ctx, r, time.Now(), nil, err)
	return err
}

// log writes the line of an operation. resp is nil if there was no response. Both resp and
// err may be set.
func (c *Client) log(ctx context.Context, r *request, began time.Time, resp *http.Response, err error) {
	log := c.config.Log
	if log == nil {
		return
	}
	level := slog.LevelInfo
	if err != nil {
		level = slog.LevelWarn
	}
	if !log.Enabled(ctx, level) {
		return
	}
	attrs := []slog.Attr{
		slog.String("op", r.op), slog.String("method", r.method),
		slog.String("path", sanitize(r.path, maxLoggedPath, r.allSecrets())),
	}
	if r.host != "" {
		attrs = append(attrs, slog.String("host", r.host))
	}
	status, id := 0, ""
	if resp != nil {
		status, id = resp.StatusCode, sanitize(resp.Header.Get(wire.HeaderRequestID), maxWord, r.allSecrets())
	} else {
		status, id = statusOf(err)
	}
	if status != 0 {
		attrs = append(attrs, slog.Int("status", status))
	}
	attrs = append(attrs, slog.Duration("duration", time.Since(began)))
	if id != "" {
		attrs = append(attrs, slog.String("request_id", id))
	}
	if err != nil {
		kind, code := kindOf(err)
		attrs = append(attrs, slog.String("error", kind))
		if code != "" {
			attrs = append(attrs, slog.String("code", code))
		}
	}
	log.LogAttrs(ctx, level, "latchkey request", attrs...)
}

// statusOf returns the status and the request ID of the response that caused err.
func statusOf(err error) (status int, requestID string) {
	var result *ConnectivityManagementResultError
	var fault *FaultError
	var oauth *OAuthError
	var odd *ResponseError
	switch {
	case errors.As(err, new(*AccessTokenError)):
		return 0, "" // they are those of another request, which has its own line
	case errors.As(err, &result):
		return result.StatusCode, result.RequestID
	case errors.As(err, &fault):
		return fault.StatusCode, fault.RequestID
	case errors.As(err, &oauth):
		return oauth.StatusCode, oauth.RequestID
	case errors.As(err, &odd):
		return odd.StatusCode, odd.RequestID
	}
	return 0, ""
}

// kindOf returns the kind of err and the code that the service sent.
func kindOf(err error) (kind, code string) {
	var result *ConnectivityManagementResultError
	var fault *FaultError
	var oauth *OAuthError
	switch {
	case errors.Is(err, ErrNotSent):
		return "not sent", ""
	case errors.As(err, &result):
		return "refused", result.ErrorCode
	case errors.As(err, &fault):
		return "fault", fault.Code
	case errors.As(err, &oauth):
		return "oauth", oauth.Code
	case errors.As(err, new(*ResponseError)):
		return "unexpected response", ""
	}
	return "no response", ""
}
