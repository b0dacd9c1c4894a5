package gateway

import (
	"net/http"
	"strings"

	"github.com/latchkey/latchkey/internal/secret"
	"github.com/latchkey/latchkey/internal/wire"
)

// tokens are the gateway's own tokens at the upstream that a request carries.
type tokens []secret.Text

// minToken is the length of the shortest token that is searched for. Shorter texts occur
// by chance.
const minToken = 16

// tokensOf returns the tokens in the header of a request to the upstream.
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

// filter removes every header that holds one of the tokens.
func (t *tokens) filter(header http.Header) {
	for name, values := range header {
		for _, value := range values {
			if len(value) >= minToken && t.in(value) {
				delete(header, name)
				break
			}
		}
	}
}

// in reports whether value holds one of the tokens.
func (t *tokens) in(value string) bool {
	for _, token := range *t {
		if strings.Contains(value, token.Reveal()) {
			return true
		}
	}
	return false
}
