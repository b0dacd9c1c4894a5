package gateway

import (
	"net/http"
	"path"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// refusedMethods are never forwarded, in any letter case. TRACE and TRACK return the
// request, and with it the gateway's tokens.
var refusedMethods = []string{http.MethodConnect, http.MethodTrace, "TRACK"}

// checkRequest returns why a request is not forwarded, or nil. A forwarded path has the same
// meaning for the gateway and for every server behind it.
func checkRequest(r *http.Request) *httpError {
	switch {
	case slices.ContainsFunc(refusedMethods, func(method string) bool { return strings.EqualFold(r.Method, method) }):
		return methodRefused
	case r.URL.Scheme != "" || r.URL.Host != "" || r.URL.Opaque != "" || r.URL.User != nil:
		return pathRefused
	case r.Header["Upgrade"] != nil:
		return upgradeRefused
	case !isPlain(r.URL.Path, r.URL.EscapedPath()):
		return pathRefused
	case strings.Contains(r.URL.RawQuery, " "):
		return queryRefused // over HTTP/1.1 it would end the request target
	case isLocal(r.URL.Path):
		return notFound
	}
	return nil
}

// isPlain reports whether a path is unambiguous. It has no empty segments, no segments of
// dots and spaces, no characters that some servers treat as separators or ignore, and no
// characters that become one of these when they are decoded, normalized or converted to
// another letter case.
func isPlain(decoded, encoded string) bool {
	whole := strings.TrimSuffix(decoded, "/")
	if !strings.HasPrefix(decoded, "/") || path.Clean(decoded) != whole && decoded != "/" {
		return false
	}
	lower := strings.ToLower(encoded)
	if strings.Contains(lower, "%2f") || strings.Contains(lower, "%2e") || strings.ContainsFunc(decoded, isAmbiguous) {
		return false
	}
	for segment := range strings.SplitSeq(whole, "/") {
		if strings.Trim(segment, ". ") == "" && segment != "" || strings.Trim(segment, " ") != segment {
			return false
		}
	}
	return isASCII(decoded) || utf8.ValidString(decoded) && norm.NFKC.IsNormalString(decoded)
}

func isASCII(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r >= utf8.RuneSelf })
}

// isAmbiguous reports whether servers treat r in a path differently. isPlain also checks
// NFKC normalization, which finds most of the other characters that become ASCII, such as
// full-width ones.
func isAmbiguous(r rune) bool {
	if r < utf8.RuneSelf {
		return r < ' ' || r == 0x7f || r == '\\' || r == ';' || r == '%' || r == '?' || r == '#'
	}
	return !unicode.IsPrint(r) || // controls, invisible characters, other spaces, unassigned ones
		unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector) ||
		strings.ContainsRune(foldedToASCII+drawnLikeASCII, r)
}

const (
	// foldedToASCII are characters that become ASCII letters in another letter case (long
	// s, the Kelvin sign, i with and without a dot, sharp s), and the replacement character
	// of an invalid byte.
	foldedToASCII = "\u017f\u212a\u0130\u0131\u00df\u1e9e\ufffd"
	// drawnLikeASCII are characters that look like a slash, a backslash, a dot, a
	// semicolon, a question mark or a percent sign. Conversions to smaller character sets
	// replace them by these, and the signs of the yen and the won by a backslash.
	drawnLikeASCII = "\u2044\u2215\u29f8\u2571\u27cb\u2041\u1735\u31d3" + "\u2216\u29f5\u29f9\u2572\u27cd\u31d4" +
		"\u3002\u0701\u0702\u06d4" + "\u061b" + "\u061f" + "\u066a\u2052" + "\u00a5\u20a9"
)

// isLocal reports whether a path belongs to the session API or to the access tokens, in any
// spelling and any version. These are never forwarded, because a local user could end the
// upstream's session there, or change its password. Accents are ignored, because
// conversions to smaller character sets drop them.
func isLocal(decoded string) bool {
	if !isASCII(decoded) {
		decoded = strings.Map(func(r rune) rune {
			if unicode.Is(unicode.M, r) {
				return -1
			}
			return r
		}, norm.NFKD.String(decoded))
	}
	rest := strings.ToLower(strings.TrimPrefix(decoded, "/"))
	next := func() (name string) { // of the next segment, without what follows it, as in session.json
		segment, more, _ := strings.Cut(rest, "/")
		rest = more
		end := 0
		for end < len(segment) && isNameByte(segment[end]) {
			end++
		}
		return segment[:end]
	}
	// named returns the next name that is neither a version nor "auth", an alias of the
	// same address.
	named := func() string {
		name := next()
		for rest != "" && (isVersion(name) || name == "auth") {
			name = next()
		}
		return name
	}
	if next() != "api" {
		return false
	}
	switch service, name := named(), named(); service {
	case "m2m":
		return name == "session"
	case "ts":
		return name == "oauth2" || name == "" || isVersion(name) // POST /api/ts/v1/ returns an access token, too
	}
	return false
}

// isVersion reports whether a segment is a version such as v1 or v2-beta.
func isVersion(name string) bool {
	return len(name) > 1 && name[0] == 'v' && name[1] >= '0' && name[1] <= '9'
}

func isNameByte(c byte) bool {
	return c == '-' || c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z'
}
