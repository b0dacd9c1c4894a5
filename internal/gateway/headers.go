package gateway

import (
	"errors"
	"io"
	"net/http"
	"strings"

	"github.com/latchkey/latchkey/internal/secret"
	"github.com/latchkey/latchkey/internal/wire"
)

// stop removes the headers that the gateway does not carry in either direction:
// the credentials of the caller at the gateway and of the gateway at the upstream,
// overrides of the method or the path, addresses of the callers, latchkey's own
// headers, and headers that make a transport send a request twice. header may be
// that of a request, of a response, or a trailer of either.
func stop(header http.Header) {
	for name := range header {
		if wire.FamilyOf(name) != wire.Ordinary {
			delete(header, name)
		}
	}
}

// stopTrailers removes what stop removes, and what may stand in a header only: fields
// that say how a message is read, routed, cached or authenticated (RFC 9110, 6.5.1). A
// recipient may merge trailers into the header, where it has acted on the other value.
func stopTrailers(trailer http.Header) {
	stop(trailer)
	for name := range trailer {
		switch name {
		case "Age", "Cache-Control", "Content-Encoding", "Content-Length", "Content-Location", "Content-Range",
			"Content-Type", "Date", "Expect", "Expires", "Location", "Max-Forwards", "Pragma", "Range", "Retry-After",
			"Vary":
			delete(trailer, name)
		default:
			if strings.HasPrefix(name, "If-") {
				delete(trailer, name)
			}
		}
	}
}

// clean removes or rewrites what may not come back to the caller in a header or in
// trailers of the upstream.
func (t *transfer) clean(header http.Header) {
	t.origin.clean(header)
	if tokens := t.tokens.Load(); tokens != nil {
		tokens.stop(header)
	}
}

// cleanTrailers does with the trailers of resp what clean does with its header: at
// once with the announced names, and at the end of the body with what has arrived.
func (t *transfer) cleanTrailers(resp *http.Response) {
	t.cleanTrailer(resp.Trailer)
	if resp.ContentLength < 0 || resp.ProtoMajor > 1 { // else there are no trailers
		resp.Body = &trailed{ReadCloser: resp.Body, resp: resp, transfer: t}
	}
}

func (t *transfer) cleanTrailer(trailer http.Header) {
	stopTrailers(trailer)
	t.clean(trailer)
}

// trailed is the body of a response that may end in trailers.
type trailed struct {
	io.ReadCloser

	resp     *http.Response
	transfer *transfer
}

// Read implements io.Reader.
func (t *trailed) Read(p []byte) (int, error) {
	n, err := t.ReadCloser.Read(p)
	if err == nil {
		return n, nil
	}
	t.transfer.cleanTrailer(t.resp.Trailer)
	if tokens := t.transfer.tokens.Load(); tokens != nil && !errors.Is(err, io.EOF) {
		err = secret.HideInError(err, *tokens...) // the trailers may not be readable
	}
	return n, err
}

// Close implements io.Closer. It may read the rest of the body, and the trailers.
func (t *trailed) Close() error {
	err := t.ReadCloser.Close()
	t.transfer.cleanTrailer(t.resp.Trailer)
	return err
}

// tokens are the gateway's own at the upstream, as a request carries them.
type tokens []secret.Text

// minToken is the length from which on a token is looked for. Shorter texts occur
// by chance.
const minToken = 16

func tokensOf(header http.Header) *tokens {
	found := make(tokens, 0, 2)
	for _, name := range []string{"Authorization", "Vz-M2m-Token", "Sessiontoken"} {
		for _, value := range header[name] {
			if value = strings.TrimPrefix(value, wire.TokenTypeBearer+" "); len(value) >= minToken {
				found = append(found, secret.Text(value))
			}
		}
	}
	return &found
}

// stop removes the headers that hold one of the tokens, under whatever name.
func (t *tokens) stop(header http.Header) {
	for name, values := range header {
		for _, value := range values {
			if len(value) >= minToken && t.in(value) {
				delete(header, name)
				break
			}
		}
	}
}

func (t *tokens) in(value string) bool {
	for _, token := range *t {
		if strings.Contains(value, token.Reveal()) {
			return true
		}
	}
	return false
}

// dropNominated removes the headers that belong to the connection because its
// Connection header names them. httputil does so with final responses.
func dropNominated(header http.Header) {
	for _, value := range header["Connection"] {
		for name := range strings.SplitSeq(value, ",") {
			header.Del(strings.TrimSpace(name))
		}
	}
}

// WriteHeader implements http.ResponseWriter. The headers of an informational
// response come from the upstream without any other check, and httputil clears
// them afterwards together with the request ID, which is restored here.
func (t *transfer) WriteHeader(status int) {
	header := t.Header()
	switch ids := header[wire.HeaderRequestID]; {
	case status < http.StatusOK:
		if t.requestID == nil {
			t.requestID = ids[:min(len(ids), 1)]
		}
		dropNominated(header)
		t.clean(header)
	case ids == nil && t.requestID != nil:
		header[wire.HeaderRequestID] = t.requestID
	case len(ids) > 1: // the upstream has its own
		header[wire.HeaderRequestID] = ids[1:2]
	}
	if status >= http.StatusOK {
		t.answered.Store(true)
		t.receive()
	}
	t.ResponseWriter.WriteHeader(status)
}
