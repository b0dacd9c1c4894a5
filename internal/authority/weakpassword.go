package authority

import (
	_ "embed"
	"fmt"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/latchkey/latchkey/internal/secret"
)

// MinPasswordLength is how many characters a password that an operator sets must
// have (OWASP ASVS 5.0, 6.2.1).
const MinPasswordLength = 8

//go:embed commonpasswords.txt
var commonPasswordsText string

// commonPasswords are the most common passwords of MinPasswordLength characters and
// more, in lower case (OWASP ASVS 5.0, 6.2.4).
var commonPasswords = sync.OnceValue(func() map[string]bool {
	common := map[string]bool{}
	for line := range strings.Lines(commonPasswordsText) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			common[line] = true
		}
	}
	return common
})

// checkStrength refuses a password that is guessed soon. The error does not show it.
func checkStrength(password secret.Text) error {
	const otherwise = "; choose another one, or give none and let a random one be made"
	text := password.Reveal()
	switch {
	case utf8.RuneCountInString(text) < MinPasswordLength:
		return &InvalidError{"password", Unacceptable, fmt.Sprintf("has fewer than %d characters%s", MinPasswordLength, otherwise)}
	case commonPasswords()[strings.ToLower(text)]:
		return &InvalidError{"password", Unacceptable, "is one of the most common ones, which are guessed first" + otherwise}
	}
	return nil
}
