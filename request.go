package latchkey

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"sync/atomic"

	"github.com/latchkey/latchkey/internal/wire"
)

// maxBody bounds the bodies that are read. The longest response of the
// session API has a few hundred bytes.
const maxBody = 1 << 20

var (
	errBodyTooLong = errors.New("the response is longer than 1 MiB")
	errNotHTTP     = errors.New("the response is not valid HTTP, and not shown because it may hold a secret")
)

// request is a request of the API that the Client sends.
type request struct {
	op               string // for errors: "start session"
	method, path     string
	host             string // for the log, if it is not that of Config.BaseURL
	contentType      string
	body             []byte
	sessionToken     Secret
	needsSession     bool
	idempotencyKey   string // "": none
	once             bool   // must never be repeated, by any layer
	keepsKey         bool   // although once, keep its Idempotency-Key
	unrepeatedResult bool   // its response holds what exists nowhere else

	authorization string
	bearer        Secret
	secrets       []Secret // what no error may show, except for the bearer
	onSent        func()   // called when the request may be on its way; may be nil
	// onResponse, if set, is called with the body of a success before anything else is
	// done with it.
	onResponse func(body Secret)
}

// setJSON makes v, a struct of strings, the body.
func (r *request) setJSON(v any) {
	r.body, _ = json.Marshal(v)
}

func (r *request) authorize(header string, bearer Secret) {
	r.authorization, r.bearer = header, bearer
}

// allSecrets returns everything that no error may show.
func (r *request) allSecrets() []Secret { return append(slices.Clip(r.secrets), r.bearer) }

// build makes the HTTP request.
func (r *request) build(ctx context.Context, base *url.URL, userAgent string) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, r.method, base.JoinPath(r.path).String(), bytes.NewReader(r.body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", wire.MediaTypeJSON)
	// No compression, so that the raw body is what the server sent.
	req.Header.Set("Accept-Encoding", "identity")
	req.Header.Set("Content-Type", r.contentType)
	req.Header.Set("User-Agent", userAgent)
	req.Header.Set("Authorization", r.authorization)
	if r.sessionToken != "" {
		req.Header.Set(wire.HeaderSessionToken, r.sessionToken.Reveal())
	}
	return req, nil
}

// send sends r and reads the response. An error means that there is none; a response
// whose body ended early has err set.
func (c *Client) send(ctx context.Context, r *request) (*response, error) {
	if ctx.Err() != nil {
		return nil, &TransportError{Op: r.op, Method: r.method, Path: r.path, Err: context.Cause(ctx)}
	}
	req, err := r.build(ctx, c.base, c.config.UserAgent)
	if err != nil {
		return nil, refuse(r.op, "the request cannot be built")
	}
	resp, watch, err := c.deliver(req, r) //nolint:bodyclose // readBody closes it
	if err != nil {
		return nil, err
	}
	a := &response{status: resp.StatusCode, header: resp.Header, secrets: r.allSecrets()}
	a.body, err = readBody(resp.Body)
	a.err = presentable(ctx, err, watch, a.secrets)
	a.decompress()
	if r.onResponse != nil && a.status/100 == 2 {
		r.onResponse(Secret(a.body))
	}
	return a, nil
}

// deliver sends req, on a connection of its own if r must not be repeated.
func (c *Client) deliver(req *http.Request, r *request) (*http.Response, *delivery, error) {
	client := c.conns.shared
	if r.once {
		client = c.conns.once
		unrepeatable(req, r.keepsKey)
		if r.idempotencyKey != "" {
			req.Header.Set(wire.HeaderIdempotency, r.idempotencyKey)
		}
	}
	watch := &delivery{sawAll: c.conns.native}
	ctx := httptrace.WithClientTrace(req.Context(), watch.trace(r.onSent))
	resp, err := client.Do(req.WithContext(ctx)) //nolint:gosec // the host is that of Config.BaseURL
	if err != nil {
		return nil, watch, &TransportError{
			Op: r.op, Method: r.method, Path: r.path, MaybeSent: watch.maybeSent() && !watch.handshakeRefused(err),
			Err: presentable(ctx, err, watch, r.allSecrets()), repeatable: r.idempotencyKey != "",
		}
	}
	return resp, watch, nil
}

// delivery records the progress of a request.
type delivery struct {
	sawAll    bool        // the transport is known to report every step
	requested atomic.Bool // a connection was requested
	connected atomic.Bool
	reused    atomic.Bool // the connection carried a request before
	responded atomic.Bool
}

func (d *delivery) trace(onSent func()) *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		GetConn: func(string) { d.requested.Store(true) },
		// There is a connection: resolving, dialing and TLS are done, and writing is
		// next. It happens on another goroutine, so no later step proves that nothing
		// was sent.
		GotConn: func(info httptrace.GotConnInfo) {
			d.connected.Store(true)
			d.reused.Store(d.reused.Load() || info.Reused)
			if onSent != nil {
				onSent()
			}
		},
		GotFirstResponseByte: func() { d.responded.Store(true) },
	}
}

// maybeSent reports whether the request may have left this machine. If a RoundTripper
// reports nothing, it may have.
func (d *delivery) maybeSent() bool {
	return d.connected.Load() || !d.sawAll && !d.requested.Load()
}

// handshakeRefused reports whether err is that of a server which did not accept our
// certificate, or the lack of one. In TLS 1.3 a client learns this only after it
// has begun to send; the server never reads what it sent.
func (d *delivery) handshakeRefused(err error) bool {
	var alert *net.OpError
	if d.reused.Load() || d.responded.Load() || !errors.As(err, &alert) || alert.Op != "remote error" {
		return false
	}
	switch alert.Err.Error() {
	case "tls: certificate required", "tls: bad certificate", "tls: unsupported certificate", "tls: revoked certificate",
		"tls: expired certificate", "tls: unknown certificate", "tls: unknown certificate authority":
		return true
	}
	return false
}

// readBody reads up to maxBody bytes and closes the body. It returns what it has read
// with the error too.
func readBody(body io.ReadCloser) ([]byte, error) {
	defer func() { _ = body.Close() }()
	b, err := io.ReadAll(io.LimitReader(body, maxBody+1))
	if len(b) > maxBody {
		return b[:maxBody], errBodyTooLong
	}
	return b, err
}

// response is a response that was read.
type response struct {
	status  int
	header  http.Header
	body    []byte
	err     error // why the body ended early; nil if it is whole
	secrets []Secret
}

// failure returns the error of a response; nil for a success.
func (resp *response) failure() error {
	return classify(resp.status, resp.header, resp.body, resp.err, resp.secrets)
}

// decompress removes the content coding of the body: some servers compress although the
// request says not to. A body that cannot be decoded remains as it is, unless only its
// checksum is missing.
func (resp *response) decompress() {
	if text, err := wire.Decode(resp.header, resp.body, maxBody); err == nil || json.Valid(text) {
		resp.body = text
		resp.header.Del("Content-Encoding") // as http.Transport does
	}
}

// decode decodes the body of a success into v and returns what is wrong with it. A body
// that parses is complete, even if the connection broke after it.
func (resp *response) decode(v any) (problem string) {
	switch err := json.Unmarshal(wire.Text(resp.body), v); {
	case err == nil:
		return ""
	case resp.err != nil:
		return "the body is incomplete"
	default:
		return "the body is not the expected JSON"
	}
}

// unreadable returns the error for a success without the expected content.
func (resp *response) unreadable(problem string) *ResponseError {
	return newResponseError(resp.status, resp.header, resp.body, problem, resp.err, resp.secrets)
}
