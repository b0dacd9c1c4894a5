package admin

import (
	"bytes"
	"crypto/rand"
	"io"
	"net/http"
	"os"
	"runtime"
	"strconv"

	"github.com/latchkey/latchkey/internal/wire"
)

// NewInProcessClient returns a client of a handler in this process, without a socket. The
// audit trail records operator as its address.
func NewInProcessClient(handler http.Handler, operator string) *Client {
	return &Client{http: http.Client{Transport: inProcess{handler: handler, operator: operator}}}
}

// Operator returns the address that the audit trail has for an operator who runs this
// process: the same as for one who reaches a server through its socket, which can identify
// the user on Linux only.
func Operator() string {
	if runtime.GOOS != "linux" {
		return wire.OperatorAddress("")
	}
	return wire.OperatorAddress(strconv.Itoa(os.Geteuid()))
}

// inProcess is an http.RoundTripper that calls a handler.
type inProcess struct {
	handler  http.Handler
	operator string
}

// RoundTrip implements http.RoundTripper.
func (p inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	call := r.Clone(r.Context())
	call.RemoteAddr = p.operator
	call.Header.Set(wire.HeaderRequestID, rand.Text())
	if call.Body == nil {
		call.Body = http.NoBody
	}
	defer func() { _ = call.Body.Close() }()
	w := &response{header: http.Header{}, status: http.StatusOK}
	p.handler.ServeHTTP(w, call)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	return &http.Response{
		Status: strconv.Itoa(w.status) + " " + http.StatusText(w.status), StatusCode: w.status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: w.header, Request: r,
		Body: io.NopCloser(&w.body), ContentLength: int64(w.body.Len()),
	}, nil
}

// response is an http.ResponseWriter that keeps the response in memory.
type response struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (w *response) Header() http.Header         { return w.header }
func (w *response) WriteHeader(status int)      { w.status = status }
func (w *response) Write(p []byte) (int, error) { return w.body.Write(p) }
