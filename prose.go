package latchkey

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/latchkey/latchkey/internal/secret"
	"github.com/latchkey/latchkey/internal/wire"
)

// How much of a server's words is kept: enough for a code, and for a sentence or
// two.
const (
	maxWord  = 128
	maxProse = 512
)

// prose makes what a server said fit to be printed: without the secrets that
// were sent to it, on one line, with nothing that moves a terminal's cursor, and
// not longer than limit bytes.
func prose(text string, limit int, sent []Secret) string {
	text = redact(text, sent)
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, text)
	// Once more, since closing the gaps may have put a secret together.
	text = redact(strings.Join(strings.Fields(text), " "), sent)
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

// errorCode makes a code fit to be printed. A documented code stays as it is, even
// if somebody's password is a word of it: programs depend on it.
func errorCode(code string, sent []Secret) string {
	service, rest, _ := strings.Cut(code, ".")
	if _, ok := errorOfCode[wire.Code(rest)]; ok {
		return prose(service, maxWord, sent) + "." + rest
	}
	switch code {
	case wire.FaultNoBearer, wire.FaultInvalidBearer, wire.FaultThrottled, wire.FaultUnavailable,
		wire.OAuthInvalidClient, wire.OAuthUnauthorized:
		return code
	}
	return prose(code, maxWord, sent)
}

// redact replaces the secrets in text, in whatever case, and also in the escaped
// forms in which they travelled.
func redact(text string, secrets []Secret) string {
	for _, s := range secrets {
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
func describe(status int, id, kind, code string, prose ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "latchkey: %s %s", kind, code)
	for _, p := range prose {
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

// presentable answers err in a form that can be shown. net/http quotes what it
// could not read as HTTP, and that can be an answer with a password in it: once
// the server has begun to speak, only errors that are known to quote nothing
// are passed on.
func presentable(ctx context.Context, err error, watch *delivery, sent []Secret) error {
	if err == nil {
		return nil
	}
	if outer, ok := err.(*url.Error); ok { //nolint:errorlint // http.Client wraps exactly once
		err = outer.Err // the rest is in Op, Method and Path
	}
	if watch.answered.Load() && !quotesNothing(ctx, err) {
		return errNotHTTP
	}
	if text := err.Error(); redact(text, sent) != text {
		return &redactedError{prose(text, maxProse, sent), err}
	}
	return err
}

func quotesNothing(ctx context.Context, err error) bool {
	var netErr net.Error
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, errAnswerTooLong) ||
		errors.As(err, &netErr) || ctx.Err() != nil && errors.Is(err, context.Cause(ctx))
}

// redactedError shows text in place of an error that prints a secret. The error
// is still there for errors.Is and errors.As.
type redactedError struct {
	text string
	err  error
}

func (e *redactedError) Error() string { return e.text }
func (e *redactedError) Unwrap() error { return e.err }
