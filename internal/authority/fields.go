package authority

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/latchkey/latchkey/internal/secret"
)

// Bounds of what callers may send. They leave room for any passphrase; beyond that, only the
// cost of hashing grows.
const (
	MaxNameBytes     = 128
	MaxPasswordBytes = 256
)

// InvalidKind classifies invalid input.
type InvalidKind int

// The kinds.
const (
	Missing          InvalidKind = iota // absent or empty
	TooLong                             // over its bound
	IllegalCharacter                    // ' < \ or a control character, or not UTF-8
	Unacceptable                        // anything else; see Problem
)

// InvalidError describes invalid input. Nothing was changed or counted as a failed login.
type InvalidError struct {
	Field   string // the caller's name for it: "username", "oldPassword"
	Kind    InvalidKind
	Problem string // "is empty", "is longer than 128 bytes"
}

// Error implements error.
func (e *InvalidError) Error() string { return fmt.Sprintf("%s %s", e.Field, e.Problem) }

// checkText returns an *InvalidError for a field that is empty, is longer than limit bytes,
// or holds a character that the API refuses.
func checkText(field, value string, limit int) error {
	switch {
	case value == "":
		return &InvalidError{field, Missing, "is missing or empty"}
	case len(value) > limit:
		return &InvalidError{field, TooLong, fmt.Sprintf("is longer than %d bytes", limit)}
	case strings.ContainsAny(value, `'<\`):
		return &InvalidError{field, IllegalCharacter, `holds one of ' < \`}
	case !utf8.ValidString(value) || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return &InvalidError{field, IllegalCharacter, "holds a control character, or is not UTF-8"}
	}
	return nil
}

func checkName(field, name string) error { return checkText(field, name, MaxNameBytes) }

func checkPassword(field string, password secret.Text) error {
	return checkText(field, password.Reveal(), MaxPasswordBytes)
}
