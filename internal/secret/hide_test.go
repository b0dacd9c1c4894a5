package secret_test

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/secret"
)

func TestHideInErrorShowsNoSecret(t *testing.T) {
	const token = secret.Text(`to"ken-1`)
	cause := errors.Join(errors.New(`malformed line "x to\"ken-1", to"ken-1`), io.ErrUnexpectedEOF)
	err := secret.HideInError(cause, "", token)
	if text := err.Error(); strings.Contains(text, token.Reveal()) || strings.Contains(text, `to\"ken-1`) ||
		!strings.Contains(text, secret.Redacted) {
		t.Errorf("shows %s", text)
	}
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error("the cause is gone")
	}
	if err := secret.HideInError(io.EOF, "", token); err != io.EOF { //nolint:errorlint // the same one is meant
		t.Errorf("an error without a secret became %v", err)
	}
	if err := secret.HideInError(nil, token); err != nil {
		t.Errorf("no error became %v", err)
	}
}
