package latchkey

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/latchkey/latchkey/internal/secret"
	"github.com/latchkey/latchkey/internal/wire"
)

// Limits of the texts of a server: enough for a code, and for a sentence or two.
const (
	maxWord = 128
	maxText = 512
)

// notShown replaces a text of a server that cannot be shown safely.
const notShown = "(the service's message is not shown: it could repeat a secret of the request)"

// message returns the printable form of a message that a server sent with a code.
//
// It does not search for a secret that could be a word of any sentence (see
// isRecognizable), because the gap in a well-known sentence would reveal it. If the request
// carried such a secret, message returns our own words on the code instead.
func message(code, text string, sent []Secret) string {
	if text != "" && !areRecognizable(sent) {
		return cmp.Or(wordsOn(code), notShown)
	}
	return sanitize(text, maxText, sent)
}

// detail returns the printable form of a text that a server sent beside its message.
func detail(text string, sent []Secret) string {
	if !areRecognizable(sent) {
		return ""
	}
	return sanitize(text, maxText, sent)
}

func areRecognizable(secrets []Secret) bool {
	return !slices.ContainsFunc(secrets, func(s Secret) bool { return s != "" && !isRecognizable(s) })
}

// wordsOn returns our own words on a documented code; "" for any other.
func wordsOn(code string) string {
	if err := errorOfCode[wire.CodeOf(code)]; err != nil {
		return err.Error()
	}
	if err := errorOfMeaning[wire.FaultMeaning(0, code)]; err != nil {
		return err.Error()
	}
	switch code {
	case wire.FaultUnavailable:
		return ErrUnavailable.Error()
	case wire.OAuthInvalidClient:
		return ErrInvalidClient.Error()
	}
	return ""
}

// isRecognizable reports whether s can be found in a text without being mistaken for an
// ordinary part of it: whether it is as long and as mixed as tokens and generated
// passwords are.
func isRecognizable(s Secret) bool {
	text := strings.ToLower(s.Reveal())
	return len(text) >= 10 && strings.ContainsAny(text, "0123456789") && strings.ContainsFunc(text, unicode.IsLetter)
}

// sanitize returns the printable form of a text of a server: without the recognizable
// secrets that were sent to it, on one line, without control characters, and not longer
// than limit bytes.
func sanitize(text string, limit int, sent []Secret) string {
	// Twice, because a secret may appear when gaps are closed.
	return shortened(redact(onOneLine(redact(text, sent)), sent), limit)
}

// onOneLine replaces what cannot be printed, and every space, by one blank each.
func onOneLine(text string) string {
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, text)
	return strings.Join(strings.Fields(text), " ")
}

// shortened cuts text at limit bytes, with a mark.
func shortened(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	const more = "…"
	cut := limit - len(more)
	for !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + more
}

// errorCode returns the printable form of a code. A documented code remains as it is, even
// if a password is a word of it, because programs depend on it.
func errorCode(code string, sent []Secret) string {
	service, rest, _ := strings.Cut(code, ".")
	if _, ok := errorOfCode[wire.Code(rest)]; ok {
		return sanitize(service, maxWord, sent) + "." + rest
	}
	if wire.FaultMeaning(0, code) != wire.MeaningOther {
		return code
	}
	switch code {
	case wire.FaultUnavailable, wire.OAuthInvalidClient, wire.OAuthUnauthorized, wire.OAuthInternal:
		return code
	}
	return sanitize(code, maxWord, sent)
}

// redact replaces the recognizable secrets in text, in whatever case, and also in the
// escaped forms in which they traveled.
func redact(text string, secrets []Secret) string {
	for _, s := range secrets {
		if !isRecognizable(s) {
			continue
		}
		plain := s.Reveal()
		quoted, _ := json.Marshal(plain)
		for _, form := range []string{
			plain, string(quoted[1 : len(quoted)-1]), url.QueryEscape(plain), url.PathEscape(plain),
		} {
			if form == "" || !strings.Contains(strings.ToLower(text), strings.ToLower(form)) {
				continue
			}
			pattern, err := regexp.Compile("(?i)" + regexp.QuoteMeta(form))
			if err != nil { // not valid UTF-8
				text = strings.ReplaceAll(text, form, secret.Redacted)
				continue
			}
			text = pattern.ReplaceAllLiteralString(text, secret.Redacted)
		}
	}
	return text
}

// describe puts the parts of an error into one line; empty ones are left out.
func describe(status int, id, kind, code string, parts ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "latchkey: %s %s", kind, code)
	for _, p := range parts {
		if p != "" {
			b.WriteString(": " + p)
		}
	}
	fmt.Fprintf(&b, " (status %d%s)", status, requestID(id))
	return b.String()
}

func requestID(id string) string {
	if id == "" {
		return ""
	}
	return ", request id " + id
}

// presentable returns an error with the printable text of err. net/http quotes what it
// cannot parse as HTTP, which may be a response with a password: after the first byte of a
// response, presentable returns only errors that are known to quote nothing. Errors of the
// system and of net/http hold no secret; it removes the secrets from those of other
// RoundTrippers.
func presentable(ctx context.Context, err error, watch *delivery, sent []Secret) error {
	if err == nil {
		return nil
	}
	if outer, ok := err.(*url.Error); ok { //nolint:errorlint // http.Client wraps exactly once
		err = outer.Err // the rest is in Op, Method and Path
	}
	canceled := ctx.Err() != nil && errors.Is(err, context.Cause(ctx))
	if watch.responded.Load() && !canceled && !quotesNothing(err) {
		return errNotHTTP
	}
	text := err.Error()
	shown := onOneLine(text) // it may have the text of a proxy
	if !watch.sawAll {
		shown = sanitize(text, maxText, sent)
	}
	if shown != text {
		return &redactedError{shortened(shown, maxText), err}
	}
	return err
}

// quotesNothing reports whether err is known to show nothing of a response.
func quotesNothing(err error) bool {
	var netErr net.Error
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, errBodyTooLong) ||
		errors.As(err, &netErr) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// redactedError prints text instead of an error that prints a secret or control
// characters. It wraps the error for errors.Is and errors.As.
type redactedError struct {
	text string
	err  error
}

func (e *redactedError) Error() string { return e.text }
func (e *redactedError) Unwrap() error { return e.err }
