package authority

import (
	_ "embed"
	"fmt"
	"strings"
	"sync"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

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

// checkStrength returns an *InvalidError for a password that is easy to guess, whatever the
// case and width of its letters, and with or without blanks around it. The error does not
// show the password.
func checkStrength(user string, password secret.Text) error {
	const otherwise = "; choose another one, or omit it to have one generated"
	text := password.Reveal()
	plain := strings.TrimSpace(foldPassword(text))
	switch {
	case utf8.RuneCountInString(text) < MinPasswordLength:
		problem := fmt.Sprintf("has fewer than %d characters%s", MinPasswordLength, otherwise)
		return &InvalidError{"password", Unacceptable, problem}
	case commonPasswords()[plain]:
		return &InvalidError{"password", Unacceptable, "is one of the most common passwords" + otherwise}
	case isRun(plain):
		return &InvalidError{"password", Unacceptable, "is a repeated character or a sequence of characters" + otherwise}
	case plain == strings.TrimSpace(foldPassword(user)):
		return &InvalidError{"password", Unacceptable, "is the name of the user" + otherwise}
	}
	return nil
}

// foldPassword returns the text in lower case, with the usual form of each letter.
func foldPassword(text string) string { return strings.ToLower(norm.NFKC.String(text)) }

// isRun reports whether each character follows the one before by the same step of at
// most one, as in 87654321, abcdefgh, and a text of nothing.
func isRun(text string) bool {
	runes := []rune(text)
	for i := 1; i < len(runes); i++ {
		if step := runes[i] - runes[i-1]; step < -1 || step > 1 || step != runes[1]-runes[0] {
			return false
		}
	}
	return true
}
