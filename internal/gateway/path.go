package gateway

import (
	"net/http"
	"path"
	"strings"

	"github.com/latchkey/latchkey/internal/wire"
)

// refused answers why a request is not carried, or nil. What is carried has one
// meaning only, to us and to every server behind us, however it reads paths.
func refused(r *http.Request) *failure {
	switch {
	case r.Method == http.MethodConnect || r.Method == http.MethodTrace:
		return methodRefused
	case r.URL.Scheme != "" || r.URL.Host != "" || r.URL.Opaque != "" || r.URL.User != nil:
		return pathRefused
	case r.Header["Upgrade"] != nil:
		return upgradeRefused
	case !isPlain(r.URL.Path, r.URL.EscapedPath()):
		return pathRefused
	case isLocal(r.URL.Path):
		return notFound
	}
	return nil
}

// isPlain reports whether nobody could read another path than this one: no empty
// and no dot segments, none of the characters that servers treat as separators,
// and nothing encoded that would be one of these once it is decoded.
func isPlain(decoded, encoded string) bool {
	whole := strings.TrimSuffix(decoded, "/")
	if !strings.HasPrefix(decoded, "/") || path.Clean(decoded) != whole && decoded != "/" {
		return false
	}
	if strings.ContainsFunc(decoded, func(r rune) bool {
		return r < ' ' || r == 0x7f || r == '\\' || r == ';' || r == '%' || r == 0xfffd
	}) {
		return false
	}
	lower := strings.ToLower(encoded)
	return !strings.Contains(lower, "%2f") && !strings.Contains(lower, "%2e")
}

// isLocal reports whether the path belongs to the session API or to the access
// tokens, however it is spelled. These are ours alone: a local user could end the
// upstream's session there, or change its password.
func isLocal(decoded string) bool {
	lower := strings.ToLower(decoded)
	for _, ours := range []string{path.Dir(wire.PathLogIn), path.Dir(wire.PathToken)} {
		if rest, ok := strings.CutPrefix(lower, ours); ok && (rest == "" || !isNameByte(rest[0])) {
			return true
		}
	}
	return false
}

func isNameByte(c byte) bool {
	return c == '-' || c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z'
}
