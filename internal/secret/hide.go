package secret

import (
	"strconv"
	"strings"
)

// HideInError returns err, or an error that wraps err and shows Redacted in the place
// of the secrets if its text holds one of them: net/http quotes what it cannot read of
// a response, which may repeat what the request carried.
func HideInError[S ~string](err error, secrets ...S) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	shown := text
	for _, s := range secrets {
		if s == "" {
			continue
		}
		plain := string(s)
		quoted := strconv.Quote(plain)
		for _, form := range []string{plain, quoted[1 : len(quoted)-1]} {
			shown = strings.ReplaceAll(shown, form, Redacted)
		}
	}
	if shown == text {
		return err
	}
	return &hidden{shown, err}
}

type hidden struct {
	text string
	err  error
}

func (h *hidden) Error() string { return h.text }
func (h *hidden) Unwrap() error { return h.err }
