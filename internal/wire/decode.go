package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"strings"
	"unicode/utf8"
)

// ByteOrderMark is what some programs write before a text in UTF-8. It means
// nothing, and is no part of the text.
const ByteOrderMark = "\ufeff"

// Unmarshal decodes a JSON object into a struct, as encoding/json does, but so
// that the object has one meaning only (RFC 7493): the names of fields are
// compared as they are, letter by letter, and no object of the text may have a
// name twice, however the two are spelled. A byte order mark before it is
// ignored, and so are unknown fields. An error shows nothing of the text.
func Unmarshal(text []byte, into any) error {
	_, err := unmarshal(text, into)
	return err
}

// UnmarshalKnown is Unmarshal that refuses unknown fields.
func UnmarshalKnown(text []byte, into any) error {
	unknown, err := unmarshal(text, into)
	if err == nil && unknown {
		err = errors.New("the JSON object has a field that is not known here")
	}
	return err
}

func unmarshal(text []byte, into any) (unknown bool, err error) {
	text = bytes.TrimPrefix(text, []byte(ByteOrderMark))
	if !utf8.Valid(text) || !json.Valid(text) {
		return false, errors.New("the text is not JSON in UTF-8")
	}
	if err := checkNames(text); err != nil {
		return false, err
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(text, &fields); err != nil {
		return false, errors.New("the JSON text is not an object")
	}
	all := len(fields)
	known := namesOf(reflect.TypeOf(into).Elem())
	maps.DeleteFunc(fields, func(name string, _ json.RawMessage) bool { return !known[name] })
	exact, err := json.Marshal(fields)
	if err != nil {
		return false, fmt.Errorf("encode the known fields: %w", err)
	}
	if json.Unmarshal(exact, into) != nil {
		return false, errors.New("a field of the JSON object has the wrong type")
	}
	return len(fields) < all, nil
}

// namesOf returns the names that the fields of a struct have in JSON.
func namesOf(t reflect.Type) map[string]bool {
	names := map[string]bool{}
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		names[name] = true
	}
	return names
}

// errTwice means that an object has a name twice.
var errTwice = errors.New("a JSON object has the same name twice")

// checkNames returns errTwice if an object in the text, which is valid JSON, has a
// name twice. Text may be nested as deep as it likes: this does not recurse.
func checkNames(text []byte) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	type level struct {
		names map[string]bool // nil: an array
		value bool            // the next token is the value of a name
	}
	levels := []level{{}}
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the JSON text: %w", err)
		}
		inner := &levels[len(levels)-1]
		if name, ok := token.(string); ok && inner.names != nil && !inner.value {
			if inner.names[name] {
				return errTwice
			}
			inner.names[name], inner.value = true, true
			continue
		}
		inner.value = false
		switch token {
		case json.Delim('{'):
			levels = append(levels, level{names: map[string]bool{}})
		case json.Delim('['):
			levels = append(levels, level{})
		case json.Delim('}'), json.Delim(']'):
			levels = levels[:len(levels)-1]
		}
	}
}
