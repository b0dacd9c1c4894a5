package server

import (
	"bytes"
	"encoding/json"
	"io"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/latchkey/latchkey/internal/wire"
)

// decodeAdmin decodes the body of an admin request. Text that no store can hold is
// refused here, because a store would take it for a failure of its own.
func decodeAdmin(from io.Reader, body any) error {
	text, err := io.ReadAll(from)
	if err != nil {
		return invalid("the body cannot be read, or is too long")
	}
	if wire.UnmarshalKnown(text, body) != nil {
		return invalid("the body is not what this operation takes")
	}
	tokens := json.NewDecoder(bytes.NewReader(text))
	for {
		token, err := tokens.Token()
		if err != nil {
			return nil //nolint:nilerr // the end: the body was decoded once already
		}
		if value, ok := token.(string); ok && !isText(value) {
			return invalid("the body holds a NUL")
		}
	}
}

// adminQueryOf reads the query parameters, under the same rule.
func adminQueryOf(raw string) (adminQuery, error) {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return adminQuery{}, invalid("the query cannot be read: it has a bad escape or a semicolon")
	}
	for name, all := range values {
		for _, value := range append(all, name) {
			if !isText(value) {
				return adminQuery{}, invalid("the query holds a NUL, or bytes that are not UTF-8")
			}
		}
	}
	return adminQuery{values}, nil
}

// isText reports whether every store can hold the text.
func isText(text string) bool { return utf8.ValidString(text) && strings.IndexByte(text, 0) < 0 }
