package gateway

import (
	"net/http"
	"strings"

	"github.com/latchkey/latchkey/internal/wire"
)

// filter removes the headers that the gateway does not forward in either direction: the
// credentials of the caller and of the gateway, overrides of the method or the path,
// addresses of callers, latchkey's own headers, and headers that make a transport repeat
// a request. header may be that of a request or a response, or a trailer of either.
func filter(header http.Header) {
	for name := range header {
		if wire.FamilyOf(name) != wire.Ordinary {
			delete(header, name)
		}
	}
}

// clean removes or rewrites the fields of a header or a trailer of the upstream that the
// caller must not receive.
func (t *transfer) clean(header http.Header) {
	t.origin.clean(header)
	if tokens := t.tokens.Load(); tokens != nil {
		tokens.filter(header)
	}
}

// dropNominated removes the headers that belong to the connection because its Connection
// header names them. httputil does this only to final responses.
func dropNominated(header http.Header) {
	for _, value := range header["Connection"] {
		for name := range strings.SplitSeq(value, ",") {
			header.Del(strings.TrimSpace(name))
		}
	}
}
