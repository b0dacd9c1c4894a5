package server

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/wire"
)

// operation handles a call. It returns a body of package wire, nil for an empty
// response, or an error that apiErrorOf maps to a response.
type operation func(*Server, *call) (any, error)

// call is one request to an operation, with what is known about it so far.
type call struct {
	w       http.ResponseWriter
	r       *http.Request
	ctx     context.Context
	id      string // the request ID
	client  string // the API key, once it is known
	address string // of the caller
}

// operationTimeout bounds an operation that hashes no password. The authority
// bounds the others.
const operationTimeout = 15 * time.Second

// operate runs an operation, sends its result, counts it and logs it.
func (s *Server) operate(w http.ResponseWriter, r *http.Request, route route) {
	start := time.Now()
	c := &call{w: w, r: r, ctx: r.Context(), id: requestID(r), address: s.address(r)}
	if !s.authority.Policy().StrikeOnAbort { // otherwise a caller that closes its sending side has disconnected
		var cancel context.CancelFunc
		c.ctx, cancel = untilDisconnect(r)
		defer cancel()
	}
	w.Header()[wire.HeaderRequestID] = []string{c.id}
	body, err := route.operation(s, c)
	elapsed := time.Since(start)
	if errors.Is(err, authority.ErrOverloaded) {
		s.pauseRefusal(c.ctx)
	}
	status, code := http.StatusOK, "ok"
	if err != nil {
		e := apiErrorOf(err)
		status, code = e.status, e.code
		e.write(w, status)
	} else {
		w.Header()["Cache-Control"] = noStore
		if body != nil {
			w.Header()["Content-Type"] = jsonType
			_, _ = w.Write(encode(body)) // an error means that the caller has disconnected
		}
	}
	s.metrics.observe(route.name, code, elapsed)
	level := slog.LevelInfo
	attributes := []slog.Attr{
		slog.String("operation", route.name), slog.Int("status", status), slog.String("code", code),
		slog.String("client", c.client), slog.String("address", c.address), slog.String("request", c.id),
		slog.Float64("ms", float64(elapsed.Microseconds())/1000),
	}
	if status >= http.StatusInternalServerError {
		level = slog.LevelWarn
		attributes = append(attributes, slog.Any("error", err))
	}
	s.log.LogAttrs(c.ctx, level, "request", attributes...)
}

func (c *call) origin() authority.Origin {
	return authority.Origin{Client: c.client, Address: c.address, RequestID: c.id}
}

// bound limits the time that the rest of the operation may take.
func (c *call) bound() context.CancelFunc {
	ctx, cancel := context.WithTimeout(c.ctx, operationTimeout)
	c.ctx = ctx
	return cancel
}

// decode decodes the JSON body into request, whatever its content type is, and
// checks the decoded text fields.
func (c *call) decode(request any, fields ...*string) error {
	body, err := c.body(unreadable)
	switch {
	case err != nil:
		return err
	case len(bytes.TrimPrefix(body, []byte(wire.ByteOrderMark))) == 0:
		return requestUndefined
	case wire.Unmarshal(body, request) != nil:
		return unreadable
	}
	for _, field := range fields {
		// Every unpaired surrogate decodes to the replacement character, so two
		// different passwords would be equal.
		if strings.ContainsRune(*field, utf8.RuneError) {
			return unreadable
		}
	}
	return nil
}

// body reads the whole body, so that a slow caller occupies nothing but a
// connection. It returns encodingRefused for a compressed body, bodyLate for one
// that does not arrive in time, and unreadable for one that is too long or
// incomplete.
func (c *call) body(unreadable *apiError) ([]byte, error) {
	for _, values := range c.r.Header["Content-Encoding"] {
		for coding := range strings.SplitSeq(values, ",") {
			if coding = strings.TrimSpace(coding); coding != "" && !strings.EqualFold(coding, "identity") {
				return nil, encodingRefused
			}
		}
	}
	if c.r.ContentLength > wire.MaxRequestBodyBytes {
		return nil, unreadable
	}
	body, err := io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, wire.MaxRequestBodyBytes))
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, bodyLate
	case err != nil:
		return nil, unreadable
	}
	return body, nil
}
