// Package secret holds the one type through which passwords, API secrets and
// tokens travel. It prints, formats, marshals and logs as "[redacted]", so that
// a secret leaves the program only where the code says Reveal.
package secret

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"io"
	"log/slog"
)

// Redacted is what a Text shows instead of itself.
const Redacted = "[redacted]"

// Text is a secret string. Every way of showing it that does not name Reveal
// (fmt with any verb, encoding/json, encoding text, log/slog) shows Redacted,
// or the empty string for an empty Text, so that "not set" stays visible.
type Text string

// Reveal returns the secret itself. Use it only where the secret is needed: on
// the wire, in a hash, or in a store made for secrets.
func (t Text) Reveal() string { return string(t) }

// Equal compares in constant time, whatever the lengths.
func (t Text) Equal(other Text) bool {
	a, b := sha256.Sum256([]byte(t)), sha256.Sum256([]byte(other))
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

// String implements fmt.Stringer.
func (t Text) String() string {
	if t == "" {
		return ""
	}
	return Redacted
}

// GoString implements fmt.GoStringer.
func (t Text) GoString() string { return t.String() }

// Format implements fmt.Formatter, so that no verb (%x and %q included) shows
// the secret.
func (t Text) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, t.String()) }

// MarshalText implements encoding.TextMarshaler; encoding/json uses it too.
func (t Text) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// LogValue implements slog.LogValuer.
func (t Text) LogValue() slog.Value { return slog.StringValue(t.String()) }
