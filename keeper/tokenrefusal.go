package keeper

import (
	"bytes"
	"io"
	"net/http"

	"github.com/latchkey/latchkey/internal/wire"
)

// maxPeek bounds what is read ahead of a response, and what is read from a response
// that is dropped so that its connection can be reused. Refusals have a few hundred
// bytes.
const maxPeek = 16 << 10

// tokenKind is a token that a request carries.
type tokenKind int

const (
	noToken tokenKind = iota
	sessionToken
	accessToken
	eitherToken // the service does not say which
)

// tokenRefusal is what a response says about the tokens of its request.
type tokenRefusal struct {
	of tokenKind
	// unexecuted is set if no service has executed the request.
	unexecuted bool
	// ambiguous is set if the response cannot be read, and may mean anything.
	ambiguous bool
}

// peeked is the body of a response of which the beginning was read.
type peeked struct {
	io.Reader
	io.Closer

	head    []byte
	refusal tokenRefusal
	// ofRequest is set if the refusal is attributed to the request, and not to the
	// token.
	ofRequest bool
}

// RefusesToken reports whether resp, a response that a Transport has returned, refuses
// one of the tokens that the Transport added. Then no service has executed the request.
// The body of resp is unchanged.
func RefusesToken(resp *http.Response) bool { return readRefusal(resp).unexecuted }

// RefusesRequest reports whether resp is a refusal of a token ([RefusesToken]) that a
// Transport attributes to the request: the resource refused a token that is accepted
// elsewhere, or that was renewed for this request. A retry cannot succeed.
func RefusesRequest(resp *http.Response) bool {
	body, ok := resp.Body.(*peeked)
	return ok && body.refusal.unexecuted && body.ofRequest
}

// readRefusal returns what resp says about the tokens. It reads the beginning of the
// body, which then yields it again.
func readRefusal(resp *http.Response) tokenRefusal {
	switch resp.StatusCode {
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusInternalServerError:
	default:
		return tokenRefusal{}
	}
	body, ok := resp.Body.(*peeked)
	if !ok {
		body = peek(resp)
	}
	return body.refusal
}

// peek reads the beginning of resp's body. The body then yields it again, followed by
// the rest or by the error that ended the reading.
func peek(resp *http.Response) *peeked {
	head, readErr := io.ReadAll(io.LimitReader(resp.Body, maxPeek))
	var rest io.Reader = resp.Body
	if readErr != nil {
		rest = failingReader{readErr}
	}
	text, codingErr := wire.Decode(resp.Header, head, maxPeek)
	// A response that is longer than any refusal is not one, even if its content coding
	// cannot be decoded.
	unreadable := codingErr != nil && len(head) < maxPeek || readErr != nil && resp.Uncompressed
	if resp.Request != nil && resp.Request.Method == http.MethodHead && len(head) == 0 {
		unreadable = true
	}
	body := &peeked{
		Reader: io.MultiReader(bytes.NewReader(head), rest), Closer: resp.Body, head: head,
		refusal: refusalOf(resp.StatusCode, wire.ParseRefusal(resp.StatusCode, text), unreadable),
	}
	resp.Body = body
	return body
}

// refusalOf returns what a parsed response means.
func refusalOf(status int, parsed wire.Refusal, unreadable bool) tokenRefusal {
	r := tokenRefusal{unexecuted: status != http.StatusInternalServerError}
	switch {
	case !r.unexecuted && parsed.Form != wire.FormOAuth:
		return tokenRefusal{} // a failure of the service, whatever its code
	case parsed.Meaning.OfSession():
		r.of = sessionToken
	case parsed.Meaning == wire.MeaningBearer:
		r.of = accessToken
	case parsed.Meaning == wire.MeaningToken:
		r.of = eitherToken
	case unreadable && status == http.StatusBadRequest && parsed.Form == wire.FormUnknown:
		return tokenRefusal{of: sessionToken, ambiguous: true}
	default:
		return tokenRefusal{}
	}
	return r
}

type failingReader struct{ err error }

func (f failingReader) Read([]byte) (int, error) { return 0, f.err }

// discard drops a response, so that its connection can be reused.
func discard(resp *http.Response) {
	_, _ = io.CopyN(io.Discard, resp.Body, maxPeek)
	_ = resp.Body.Close()
}
