package gateway_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

func TestPathsThatChangeWithNormalizationAreRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t, echo, nil)
	for name, segment := range map[string]string{
		"a long s":                    "devi\u017fes",
		"a Kelvin sign":               "\u212Aey",
		"a dotless i":                 "dev\u0131ces",
		"a capital i with a dot":      "DEV\u0130CES",
		"a sharp s":                   "se\u00dfion",
		"a capital sharp s":           "SE\u1e9eION",
		"full-width letters":          "ｓession",
		"a full-width dot":            "\uff0e\uff0e",
		"a one dot leader":            "\u2024\u2024",
		"a two dot leader":            "\u2025",
		"an ideographic full stop":    "a\u3002b",
		"a half-width full stop":      "a\uff61b",
		"a full-width slash":          "a\uff0fb",
		"a full-width backslash":      "a\uff3cb",
		"a small backslash":           "a\ufe68b",
		"a division slash":            "a\u2215b",
		"a fraction slash":            "a\u2044b",
		"a big solidus":               "a\u29f8b",
		"a diagonal":                  "a\u2571b",
		"a set minus":                 "a\u2216b",
		"a yen sign":                  "a\u00a5b",
		"a won sign":                  "a\u20a9b",
		"a reverse solidus":           "a\u29f5b",
		"a Greek question mark":       "a\u037eb",
		"a full-width semicolon":      "a\uff1bb",
		"a full-width percent sign":   "\uff052e",
		"a full-width question mark":  "a\uff1fb",
		"a full-width number sign":    "a\uff03b",
		"a soft hyphen":               "se\u00adssion",
		"a zero-width space":          "se\u200bssion",
		"a zero-width joiner":         "se\u200dssion",
		"a word joiner":               "se\u2060ssion",
		"a byte order mark":           "\ufeffsession",
		"a direction mark":            "se\u202ession",
		"a grapheme joiner":           "se\u034fssion",
		"a variation selector":        "session\ufe0f",
		"another variation selector":  "session\U000e0100",
		"a Mongolian separator":       "se\u180ession",
		"a Hangul filler":             "se\u3164ssion",
		"another Hangul filler":       "se\u115fssion",
		"an invisible times":          "se\u2062ssion",
		"a tag":                       "se\U000e0061ssion",
		"a ligature":                  "of\ufb01ce",
		"a superscript":               "v\u00b9",
		"a no-break space":            "a\u00a0b",
		"an ideographic space":        "a\u3000b",
		"an Ogham space":              "a\u1680b",
		"a line separator":            "a\u2028b",
		"a next line":                 "a\u0085b",
		"a C1 control":                "a\u009bb",
		"a tab":                       "a\tb",
		"a line feed":                 "a\nb",
		"a replacement character":     "a\ufffdb",
		"a private character":         "a\ue000b",
		"a character not assigned":    "a\U000e1000b",
		"a noncharacter":              "a\uffffb",
		"a decomposed letter":         "e\u0301",
		"marks in another order":      "a\u0301\u0323",
		"a question mark":             "a?b",
		"a number sign":               "a#b",
		"a percent sign":              "a%b",
		"a blank before":              " session",
		"a blank behind":              "session ",
		"three dots":                  "...",
		"a dot and a blank":           ". .",
		"a Roman numeral":             "\u2160",
		"a mathematical letter":       "\U0001d42c",
		"a letter in a circle":        "\u24e2",
		"an Arabic percent sign":      "a\u066ab",
		"an Arabic question mark":     "a\u061fb",
		"a Syriac full stop":          "a\u0701b",
		"a colon of modifier letters": "a\ufe13b",
	} {
		if got := r.raw("GET /api/m2m/v1/" + url.PathEscape(segment) + "/x HTTP/1.1\r\n" + r.tokens() +
			"Connection: close\r\n\r\n"); len(got) != 1 || got[0] != http.StatusBadRequest {
			t.Errorf("%s returned %v", name, got)
		}
	}
	for _, target := range []string{ // bytes that are not UTF-8
		"/api/a%ff", "/api/a%c0%af", "/api/%e0%80%ae", "/api/a%c3", "/api/%ed%a0%80", "/api/%f4%90%80%80",
		"/api/a%80b", "/api/a\xe9b", "/api/a%3fb", "/api/a%3Fadmin=1", "/api/a%23b", "/api/a%09", "/api/a%0a",
		"/api/a%1f", "/api/a%c2%85", "/api/a%u002e", "/api/a%",
	} {
		if got := r.raw("GET " + target + " HTTP/1.1\r\n" + r.tokens() + "Connection: close\r\n\r\n"); len(got) != 1 ||
			got[0] != http.StatusBadRequest {
			t.Errorf("%q returned %v", target, got)
		}
	}
	if seen := r.upstream.seen(); len(seen) != 0 {
		t.Errorf("forwarded: %q", seen)
	}
}

// The other addresses of the session API and of the access tokens, as well.
func TestOtherPathsOfTheSessionAPIAreLocal(t *testing.T) {
	t.Parallel()
	r := newRig(t, echo, nil)
	for _, target := range []string{
		"/api/auth/v1/m2m/v1/session/other", "/api/auth/v1/m2m/v1/session",
		"/api/AUTH/V1/m2m/v1/Session/Login", "/api/auth/v1/m2m/v1/session/login/",
		"/api/auth/v1/m2m/v1/session/password/actions/Reset", "/api/auth/v1/ts/v1/oauth2/token", "/api/ts/v1",
		"/api/TS/v1/", "/api/ts/v1/oauth2", "/api/auth/v1/ts/v1/", "/api/m2m/v2/session/login",
		"/api/m2m/v1.0/session/logout", "/api/m2m/v1/session./login", "/api/m2m/v1./session/login",
		"/api/m2m/v1/session.json", "/api/m2m/v1/session:x", "/api/m2m/v1/session,x/login",
		"/api/m2m/v1/session=x/login", "/api/m2m./v1/session/login", "/api/ts/v2/oauth2/token",
		"/api/ts/v1/oauth2.0/token", "/api/m2m/v1/session%20x", "/api/m2m/v1/session%2c",
	} {
		if got := r.raw("POST " + target + " HTTP/1.1\r\n" + r.tokens() +
			"Content-Length: 2\r\nConnection: close\r\n\r\n{}"); len(got) != 1 || got[0] != http.StatusNotFound {
			t.Errorf("%s returned %v", target, got)
		}
	}
	if seen := r.upstream.seen(); len(seen) != 0 {
		t.Errorf("forwarded: %q", seen)
	}
	for _, target := range []string{
		"/api/ts/v1/events", "/api/auth/v1/keys", "/api/m2m/v1/sessions", "/api/m2m/v1/session-history",
		"/api/m2m/v1/devices/session/login", "/api/other/m2m/v1/session",
	} {
		if p := r.get(target); p.StatusCode != http.StatusOK {
			t.Errorf("%s returned %d %s", target, p.StatusCode, p.text)
		}
	}
}

func TestOrdinaryNamesOfAllLanguagesAreForwardedUnchanged(t *testing.T) {
	t.Parallel()
	r := newRig(t, echo, nil)
	for _, segment := range []string{
		"Zürich", "Café", "Łódź", "Ελλάδα", "Москва", "東京タワー", "서울", "ירושלים", "القاهرة", "नमस्ते", "ไทย", "x y",
		"Acme Inc.", "a–b", "O’Neil", "№7"[len("№"):],
		"😀", "a+b=c,d:e@f!$&'()*", `"quoted"`, "<x>", "{id}", "|", "^`", "~home", "10€", "20°C",
	} {
		target := "/api/m2m/v1/devices/" + url.PathEscape(segment)
		if got := r.get(target).echoed(t); got.Target != target {
			t.Errorf("%s arrived as %s", segment, got.Target)
		}
		// The same with every byte encoded.
		var all strings.Builder
		for _, c := range []byte(segment) {
			if c == '.' {
				all.WriteByte(c)
				continue
			}
			all.WriteString("%" + strings.ToUpper(string("0123456789abcdef"[c>>4])+string("0123456789abcdef"[c&15])))
		}
		target = "/api/m2m/v1/devices/" + all.String()
		if got := r.get(target).echoed(t); got.Target != target {
			t.Errorf("%s arrived as %s", target, got.Target)
		}
	}
}

// Over HTTP/2 a path may hold spaces, which would end it in a request line.
func TestASpaceInAQueryIsRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t, echo, nil)
	r.useHTTP2()
	for query, status := range map[string]int{"a=b HTTP/1.1": 400, " ": 400, "a=b ": 400, "a=b%20c+d": 200} {
		req := r.request(http.MethodGet, "/api/x", http.NoBody)
		req.URL.RawQuery = query
		if p := r.do(req); p.StatusCode != status || status == 400 && !strings.Contains(p.text, "was not forwarded") {
			t.Errorf("%q returned %d %s", query, p.StatusCode, p.text)
		}
	}
	if seen := r.upstream.seen(); len(seen) != 1 || seen[0] != "GET /api/x?a=b%20c+d" {
		t.Errorf("forwarded: %q", seen)
	}
}
