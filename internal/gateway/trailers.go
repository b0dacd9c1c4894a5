package gateway

import (
	"errors"
	"io"
	"net/http"
	"strings"

	"github.com/latchkey/latchkey/internal/secret"
)

// filterTrailers removes what filter removes, and the fields that are permitted only in a
// header, because they control how a message is read, routed, cached or authenticated
// (RFC 9110, 6.5.1). A recipient may merge a trailer into the header after it has acted on
// the header's value.
func filterTrailers(trailer http.Header) {
	filter(trailer)
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

// cleanTrailers cleans the trailer of resp: the announced names at once, and the values at
// the end of the body.
func (t *transfer) cleanTrailers(resp *http.Response) {
	t.cleanTrailer(resp.Trailer)
	if resp.ContentLength < 0 || resp.ProtoMajor > 1 { // otherwise there are no trailers
		resp.Body = &trailedBody{ReadCloser: resp.Body, resp: resp, transfer: t}
	}
}

func (t *transfer) cleanTrailer(trailer http.Header) {
	filterTrailers(trailer)
	t.clean(trailer)
}

// trailedBody is the body of a response that may end in trailers.
type trailedBody struct {
	io.ReadCloser

	resp     *http.Response
	transfer *transfer
}

// Read implements io.Reader.
func (b *trailedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == nil {
		return n, nil
	}
	b.transfer.cleanTrailer(b.resp.Trailer)
	if tokens := b.transfer.tokens.Load(); tokens != nil && !errors.Is(err, io.EOF) {
		err = secret.HideInError(err, *tokens...) // it may quote a malformed trailer
	}
	return n, err
}

// Close implements io.Closer. It may read the rest of the body, and the trailers.
func (b *trailedBody) Close() error {
	err := b.ReadCloser.Close()
	b.transfer.cleanTrailer(b.resp.Trailer)
	return err
}
