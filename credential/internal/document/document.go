// Package document is the format in which stores keep a credential: a JSON object with the
// fields "username" and "password". Other fields belong to other programs and are kept
// unchanged. No error shows any of the content.
package document

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/credential/internal/hint"
)

const (
	fieldUser     = "username"
	fieldPassword = "password"
	fieldSalt     = "salt"
)

// MaxBytes is the maximum size of a document.
const MaxBytes = 64 << 10

// Document is the object, field by field.
type Document map[string]json.RawMessage

// Parse parses a document, which need not contain a credential.
func Parse(data []byte) (Document, error) {
	var d Document
	if len(data) > MaxBytes {
		return nil, fmt.Errorf("it is longer than %d bytes", MaxBytes)
	}
	if err := json.Unmarshal(data, &d); err != nil || d == nil {
		return nil, errors.New(`it is not a JSON object like {"username": "…", "password": "…"}`)
	}
	return d, nil
}

// Get returns the credential in the document, or an error if there is no valid one.
func (d Document) Get() (user string, password latchkey.Secret, err error) {
	user, userErr := d.text(fieldUser)
	word, passwordErr := d.text(fieldPassword)
	if err := errors.Join(userErr, passwordErr); err != nil {
		return "", "", err
	}
	password = latchkey.Secret(word)
	return user, password, Check(user, password)
}

// Set puts a credential into the document.
func (d Document) Set(user string, password latchkey.Secret) {
	d.put(fieldUser, user)
	d.put(fieldPassword, password.Reveal())
}

// Encode returns the document as JSON.
func (d Document) Encode() []byte {
	data, _ := json.Marshal(map[string]json.RawMessage(d)) // cannot fail: every value was parsed or marshaled before
	return data
}

// Salt sets a new random salt, and so a new Version.
func (d Document) Salt() { d.put(fieldSalt, rand.Text()) }

// unsalted is the salt of documents without one, which were written by hand. Their versions
// are valid in this process only.
var unsalted = rand.Text()

// Version returns a name of the credential in the document, for stores that do not number
// their versions. It changes with every Salt, and with every change by hand. It is an HMAC
// whose key is the salt, so that it does not help to guess the password.
func (d Document) Version() string {
	salt, err := d.text(fieldSalt)
	if err != nil {
		salt = unsalted
	}
	mac := hmac.New(sha256.New, []byte(salt))
	for _, field := range []string{fieldUser, fieldPassword} {
		value, _ := d.text(field)
		sum := sha256.Sum256([]byte(value)) // of a fixed length, so that the fields cannot be shifted
		_, _ = mac.Write(sum[:])
	}
	return hex.EncodeToString(mac.Sum(nil)[:16])
}

func (d Document) put(field, value string) {
	d[field], _ = json.Marshal(value) // a string always marshals
}

func (d Document) text(field string) (string, error) {
	var value string
	if raw, ok := d[field]; !ok {
		return "", fmt.Errorf("its field %q is missing", field)
	} else if err := json.Unmarshal(raw, &value); err != nil {
		return "", fmt.Errorf("its field %q is not a string", field)
	}
	return value, nil
}

// Maximum sizes of the fields, far above what services allow.
const (
	maxUser     = 1 << 10
	maxPassword = 4 << 10
)

// Check returns an error if a user name or a password is not valid. The error shows neither.
func Check(user string, password latchkey.Secret) error {
	return errors.Join(check("user name", user, maxUser), check("password", password.Reveal(), maxPassword))
}

func check(what, value string, limit int) error {
	switch {
	case value == "":
		return fmt.Errorf("the %s is empty", what)
	case len(value) > limit:
		return fmt.Errorf("the %s is longer than %d bytes", what, limit)
	case strings.HasPrefix(value, "\ufeff"), strings.HasPrefix(value, "\xff\xfe"), strings.HasPrefix(value, "\xfe\xff"):
		return hint.With(fmt.Errorf("the %s begins with a byte order mark", what), "Save it as UTF-8 without one.")
	case !utf8.ValidString(value) || strings.Contains(value, "\x00"):
		return fmt.Errorf("the %s is not text (valid UTF-8, without NUL)", what)
	}
	return nil
}
