package latchkey

import (
	"fmt"
	"io"
	"log/slog"

	"github.com/latchkey/latchkey/internal/secret"
)

// Secret is a password, an API secret or a token. Convert a string with Secret("…").
//
// Package fmt (with any verb), encoding/json, other encoders of text, and log/slog
// show "[redacted]" in its place, or nothing if it is empty. Only Reveal returns the
// string itself. Compare two secrets with Equal.
//
// fmt prints unexported fields without calling their methods: a struct with a Secret
// in an unexported field needs a String or Format method of its own.
type Secret string

// Reveal returns the secret as an ordinary string, which nothing redacts. Call it only
// where the secret itself is needed: in a request, or in a store made for secrets.
func (s Secret) Reveal() string { return string(s) }

// Equal reports whether s and other are the same, in a time that depends on neither
// their content nor where they differ.
func (s Secret) Equal(other Secret) bool { return secret.Text(s).Equal(secret.Text(other)) }

// String implements fmt.Stringer. It returns "[redacted]", or "" if s is empty.
func (s Secret) String() string { return secret.Text(s).String() }

// GoString implements fmt.GoStringer. It returns what String returns.
func (s Secret) GoString() string { return s.String() }

// Format implements fmt.Formatter. It writes what String returns, whatever the verb:
// %x and %q do not show the secret either.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// MarshalText implements encoding.TextMarshaler, which encoding/json uses too. It
// returns what String returns. Call Reveal to store a secret.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// LogValue implements slog.LogValuer. It returns what String returns.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }
