package keeper

import (
	"bytes"
	"io"
	"net/http"

	"github.com/latchkey/latchkey/internal/wire"
)

// maxPeek bounds what is read ahead of a response, and what is read off a response
// that is dropped so that its connection can be used again. Refusals have a few
// hundred bytes.
const maxPeek = 16 << 10

// target is the token that a response refuses.
type target int

const (
	nothing   target = iota
	ofSession        // the session token
	ofBearer         // the access token
	ofEither         // the service does not say which
)

// finding is what a response says about the tokens of its request.
type finding struct {
	of target
	// unexecuted is set if no service has executed the request.
	unexecuted bool
	// doubtful is set if the response cannot be read, and may mean anything.
	doubtful bool
}

// peeked is the body of a response of which the beginning was read.
type peeked struct {
	io.Reader
	io.Closer

	head    []byte
	finding finding
	// ofRequest is set if the refusal is attributed to the request, and not to the
	// token.
	ofRequest bool
}

// RefusesToken reports whether resp refuses one of the tokens that the request
// carried, as a response that a Transport returns may. Then no service executed
// the request, and it is not the caller's own tokens that are meant. The body is
// what it was.
func RefusesToken(resp *http.Response) bool { return readRefusal(resp).unexecuted }

// RefusesRequest reports whether resp is a refusal of a token ([RefusesToken])
// that a Transport attributes to the request: the resource refused a token that is
// good elsewhere, or that was renewed for this request. A retry cannot succeed.
func RefusesRequest(resp *http.Response) bool {
	body, ok := resp.Body.(*peeked)
	return ok && body.finding.unexecuted && body.ofRequest
}

// readRefusal reads what resp says about the tokens. It reads the beginning of the
// body and puts it back, so that the body is what it was.
func readRefusal(resp *http.Response) finding {
	switch resp.StatusCode {
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusInternalServerError:
	default:
		return finding{}
	}
	body, ok := resp.Body.(*peeked)
	if !ok {
		body = peek(resp)
	}
	return body.finding
}

// peek reads the beginning of resp's body, which yields it again, followed by the
// rest or by the error that ended the reading.
func peek(resp *http.Response) *peeked {
	head, readErr := io.ReadAll(io.LimitReader(resp.Body, maxPeek))
	var rest io.Reader = resp.Body
	if readErr != nil {
		rest = failing{readErr}
	}
	text, codingErr := wire.Decode(resp.Header, head, maxPeek)
	// A response that is longer than any refusal is none, though its coding cannot
	// be undone.
	unreadable := codingErr != nil && len(head) < maxPeek || readErr != nil && resp.Uncompressed
	if resp.Request != nil && resp.Request.Method == http.MethodHead && len(head) == 0 {
		unreadable = true
	}
	body := &peeked{
		Reader: io.MultiReader(bytes.NewReader(head), rest), Closer: resp.Body, head: head,
		finding: findingOf(resp.StatusCode, wire.ParseRefusal(resp.StatusCode, text), unreadable),
	}
	resp.Body = body
	return body
}

// findingOf decides what a parsed response means.
func findingOf(status int, parsed wire.Refusal, unreadable bool) finding {
	r := finding{unexecuted: status != http.StatusInternalServerError}
	switch {
	case !r.unexecuted && parsed.Form != wire.FormOAuth:
		return finding{} // a failure of the service, whatever its code
	case parsed.Meaning.OfSession():
		r.of = ofSession
	case parsed.Meaning == wire.MeaningBearer:
		r.of = ofBearer
	case parsed.Meaning == wire.MeaningToken:
		r.of = ofEither
	case unreadable && status == http.StatusBadRequest && parsed.Form == wire.FormUnknown:
		return finding{of: ofSession, doubtful: true}
	default:
		return finding{}
	}
	return r
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// discard drops a response, so that its connection can be used again.
func discard(resp *http.Response) {
	_, _ = io.CopyN(io.Discard, resp.Body, maxPeek)
	_ = resp.Body.Close()
}
