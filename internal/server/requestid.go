package server

import (
	"crypto/rand"
	"net/http"
	"strings"

	"github.com/latchkey/latchkey/internal/wire"
)

// requestIDCharacters are the characters that a caller's request ID may contain.
const requestIDCharacters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"

// requestID returns the caller's request ID if it is safe to log, or a new one.
func requestID(r *http.Request) string {
	values := r.Header[wire.HeaderRequestID]
	if len(values) == 1 && len(values[0]) <= 64 && values[0] != "" &&
		strings.Trim(values[0], requestIDCharacters) == "" {
		return values[0]
	}
	return rand.Text()
}
