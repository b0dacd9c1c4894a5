package wire

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"io"
	"net/http"
	"strings"
)

// Form is the shape of an error body.
type Form int

// The shapes in which the services of the API refuse.
const (
	FormUnknown Form = iota
	FormFault        // {"fault":{"code","message","description"}}, or the same in XML
	FormResult       // a code and a message, under whatever names the service has for them
	FormOAuth        // {"error","error_description","cause"}; "description" is read as well
)

// Refusal is an error response in one of the published forms. Its texts are as
// the service sent them.
type Refusal struct {
	Form        Form
	Code        string
	Message     string // the description of FormOAuth
	Description string // of FormFault
	Cause       string // of FormOAuth
	Meaning     Meaning
}

// ParseRefusal reads the body of an error response. It is lenient about what
// stands around the fields that it needs: a byte order mark, UTF-16, what follows
// the object, and an end that is missing.
func ParseRefusal(status int, body []byte) Refusal {
	var r Refusal
	text := Text(body)
	told := parseFields(text)
	fault, isFault := parseFault(text, told)
	switch {
	case isFault:
		r = Refusal{Form: FormFault, Code: fault.Code, Message: fault.Message, Description: fault.Description}
	case told.word("errorCode") != "":
		r = Refusal{Form: FormResult, Code: told.word("errorCode"), Message: told.prose("errorMessage", "message")}
	case told.word("responseCode") != "":
		r = Refusal{Form: FormResult, Code: told.word("responseCode"), Message: told.prose("message", "responseMessage")}
	case told.text("error") != "":
		r = Refusal{Form: FormOAuth, Code: told.text("error"),
			Message: told.prose("error_description", "description", "message"), Cause: told.prose("cause")}
	case status == http.StatusUnauthorized && told.word("status") != "" && told.text("message") != "":
		r = Refusal{Form: FormResult, Code: told.word("status"), Message: told.text("message")}
	}
	r.Meaning = r.meaning(status)
	return r
}

// ParseFault recognizes a fault of the API gateway in JSON or XML. The vendor's
// gateway sends XML to clients whose Accept header it does not like.
func ParseFault(body []byte) (Fault, bool) {
	text := Text(body)
	return parseFault(text, parseFields(text))
}

func parseFault(text []byte, told fields) (Fault, bool) {
	if told != nil {
		inner := parseFields(told["fault"].raw)
		fault := Fault{Code: inner.word("code"), Message: inner.prose("message"), Description: inner.prose("description")}
		return fault, fault.Code != ""
	}
	var fault Fault
	decoder := xml.NewDecoder(bytes.NewReader(text))
	// The codes are digits in every encoding that a declaration may name, and the
	// text is UTF-8 already if it was UTF-16.
	decoder.CharsetReader = func(_ string, input io.Reader) (io.Reader, error) { return input, nil }
	_ = decoder.Decode(&fault) // what was read before an error counts
	return fault, fault.Code != ""
}

// fields are the members of a JSON object by their lower-case names.
type fields map[string]field

type field struct {
	raw   json.RawMessage
	whole bool // false if the text ended within the value
}

// parseFields reads the members of the object that text begins with, as far as
// they can be read; nil if text does not begin with an object.
func parseFields(text []byte) fields {
	decoder := json.NewDecoder(bytes.NewReader(text))
	if token, err := decoder.Token(); err != nil || token != json.Delim('{') {
		return nil
	}
	found := fields{}
	for decoder.More() {
		token, err := decoder.Token()
		name, ok := token.(string)
		if err != nil || !ok {
			break
		}
		name = strings.ToLower(name)
		begin := decoder.InputOffset()
		var raw json.RawMessage
		if err := decoder.Decode(&raw); err != nil {
			found[name] = field{raw: bytes.TrimLeft(text[begin:], ": \t\r\n\"")}
			break
		}
		found[name] = field{raw: raw, whole: true}
	}
	return found
}

// text returns a member that is a whole string.
func (f fields) text(name string) (s string) {
	if value := f[strings.ToLower(name)]; value.whole {
		_ = json.Unmarshal(value.raw, &s) // anything else leaves it empty
	}
	return s
}

// word returns a member that is a whole string or number.
func (f fields) word(name string) string {
	if s := f.text(name); s != "" {
		return s
	}
	var number json.Number
	if value := f[strings.ToLower(name)]; value.whole && json.Unmarshal(value.raw, &number) == nil {
		return number.String()
	}
	return ""
}

// prose returns the first of the named members that is there, of whatever type: a
// service that puts an object where a string belongs must not hide what it says.
func (f fields) prose(names ...string) string {
	for _, name := range names {
		value, ok := f[strings.ToLower(name)]
		if !ok {
			continue
		}
		var s string
		if json.Unmarshal(value.raw, &s) == nil {
			return s
		}
		return string(value.raw)
	}
	return ""
}
