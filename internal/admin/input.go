package admin

import (
	"bytes"
	"encoding/json"
	"io"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/wire"
)

// defaultPage is the number of entries in a page unless the request has a limit.
const defaultPage = 100

// invalid returns an error of the request itself.
func invalid(problem string) error {
	return &authority.InvalidError{Field: "the request:", Kind: authority.Unacceptable, Problem: problem}
}

// decode decodes the body of a request. It refuses text that no store can hold, which a
// store would report as a failure of its own.
func decode(from io.Reader, body any) error {
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
			return nil //nolint:nilerr // the end: the body was decoded before
		}
		if value, ok := token.(string); ok && !isText(value) {
			return invalid("the body contains a NUL")
		}
	}
}

// query is the query parameters of a request.
type query struct{ url.Values }

// parseQuery parses query parameters. Like decode, it refuses text that no store can hold.
func parseQuery(raw string) (query, error) {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return query{}, invalid("the query cannot be read: it has a bad escape or a semicolon")
	}
	for name, all := range values {
		for _, value := range append(all, name) {
			if !isText(value) {
				return query{}, invalid("the query contains a NUL, or bytes that are not UTF-8")
			}
		}
	}
	return query{values}, nil
}

// isText reports whether every store can hold the text.
func isText(text string) bool { return utf8.ValidString(text) && strings.IndexByte(text, 0) < 0 }

// limit returns how many entries a page may have.
func (q query) limit() (int, error) {
	text := q.Get("limit")
	if text == "" {
		return defaultPage, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return 0, invalid("limit is not a positive number")
	}
	return min(n, MaxPage), nil
}

// flag returns the value of a flag. An absent flag is false.
func (q query) flag(name string) (bool, error) {
	text := q.Get(name)
	if text == "" {
		return false, nil
	}
	set, err := strconv.ParseBool(text)
	if err != nil {
		return false, invalid(name + " is neither true nor false")
	}
	return set, nil
}

// number returns a number. An absent number is 0.
func (q query) number(name string) (int64, error) {
	text := q.Get(name)
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, invalid(name + " is not a number")
	}
	return n, nil
}

// time returns a time. An absent time is zero.
func (q query) time(name string) (time.Time, error) {
	text := q.Get(name)
	if text == "" {
		return time.Time{}, nil
	}
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return time.Time{}, invalid(name + " is not a time like " + time.RFC3339)
	}
	return at, nil
}
