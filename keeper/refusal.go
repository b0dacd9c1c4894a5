package keeper

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"net/http"

	"github.com/latchkey/latchkey"
)

// maxPeek bounds what is read ahead of an answer, and what is read off an answer
// that is dropped so that its connection can be used again. Refusals have a few
// hundred bytes.
const maxPeek = 16 << 10

// target is what an answer refuses.
type target int

const (
	nothing   target = iota
	ofSession        // one of the three SessionToken codes, of whatever service, or the wrapped form
	ofBearer         // fault 900901, 900902, or another with status 401
)

// RefusesToken reports whether resp refuses one of the tokens that the request
// carried, as an answer that a Transport passes on may: then no service executed
// the request, and it is not the caller's own tokens that are meant. The body is
// what it was.
func RefusesToken(resp *http.Response) bool { return refusedBy(resp) != nothing }

// refusedBy tells whether resp refuses one of the tokens. It reads the beginning
// of the body and puts it back, so that the body is what it was.
func refusedBy(resp *http.Response) target {
	if resp.StatusCode != http.StatusBadRequest && resp.StatusCode != http.StatusUnauthorized {
		return nothing
	}
	err := latchkey.ErrorFromResponse(resp.StatusCode, resp.Header, plain(resp.Header, peek(resp)))
	switch {
	case errors.Is(err, latchkey.ErrSessionExpired), errors.Is(err, latchkey.ErrSessionTokenInvalid),
		errors.Is(err, latchkey.ErrSessionTokenMissing):
		return ofSession
	case errors.Is(err, latchkey.ErrUnauthorized):
		return ofBearer
	}
	return nothing
}

// peek answers the first bytes of resp's body, which yields them once more,
// followed by the rest or by the error that ended the peek.
func peek(resp *http.Response) []byte {
	head, err := io.ReadAll(io.LimitReader(resp.Body, maxPeek))
	var rest io.Reader = resp.Body
	if err != nil {
		rest = failing{err}
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(head), rest), resp.Body}
	return head
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// plain undoes gzip, which net/http leaves to callers that ask for it themselves.
// What is cut off or wrong is dropped.
func plain(header http.Header, body []byte) []byte {
	if header.Get("Content-Encoding") != "gzip" {
		return body
	}
	unzip, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return nil
	}
	text, _ := io.ReadAll(io.LimitReader(unzip, maxPeek))
	return text
}

// discard drops an answer, so that its connection can be used again.
func discard(resp *http.Response) {
	_, _ = io.CopyN(io.Discard, resp.Body, maxPeek)
	_ = resp.Body.Close()
}
