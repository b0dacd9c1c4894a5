package wire_test

import (
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/wire"
)

func TestUnmarshalGivesAnObjectOneMeaning(t *testing.T) {
	const good = `{"username":"a","password":"b"}`
	deep := strings.Repeat("[", 9000) + strings.Repeat("]", 9000)
	tests := []struct {
		name, text string
		ok         bool
		known      bool // as well as ok
		user, pass string
	}{
		{"an object", good, true, true, "a", "b"},
		{"white space", " \r\n\t" + good + "\n", true, true, "a", "b"},
		{"escapes", `{"user\u006eame":"\u0061","password":"\ud83d\ude00"}`, true, true, "a", "😀"},
		{"a byte order mark", "\ufeff" + good, true, true, "a", "b"},
		{"null", "null", true, true, "", ""},
		{"names in another case", `{"Username":"a","PASSWORD":"b"}`, true, false, "", ""},
		{"both cases", `{"password":"b","Password":"c","username":"a"}`, true, false, "a", "b"},
		{"a name with the Kelvin sign", `{"username":"a","password":"b","\u212aey":1}`, true, false, "a", "b"},
		{"a letter that folds", `{"u\u017fername":"a"}`, true, false, "", ""}, // the long s
		{"huge numbers", `{"username":"a","password":"b","x":[1e999999,-` + strings.Repeat("9", 5000) + `]}`, true, false,
			"a", "b"},
		{"deep nesting", `{"username":"a","password":"b","x":` + deep + `}`, true, false, "a", "b"},
		{"the same name at different levels", `{"username":"a","password":"b","x":{"username":"c","y":[{"x":1},{"x":2}]}}`,
			true, false, "a", "b"},
		{"a value that is a name", `{"username":"username","password":"username"}`, true, true, "username", "username"},
		{"two marks", "\ufeff\ufeff" + good, false, false, "", ""},
		{"a mark within", `{"username":"a",` + "\ufeff" + `"password":"b"}`, false, false, "", ""},
		{"UTF-16", "\xff\xfe{\x00}\x00", false, false, "", ""},
		{"a name twice", `{"password":"b","username":"a","password":"b"}`, false, false, "", ""},
		{"a name twice, one escaped", `{"password":"b","username":"a","pass\u0077ord":"c"}`, false, false, "", ""},
		{"an unknown name twice", `{"username":"a","password":"b","x":1,"x":1}`, false, false, "", ""},
		{"twice deep within", `{"username":"a","password":"b","x":[[{"y":{"z":1,"z":2}}]]}`, false, false, "", ""},
		{"twice, an object between", `{"username":{"x":1},"username":"a"}`, false, false, "", ""},
		{"two names with half a surrogate pair", `{"\ud800":1,"\ud801":2}`, false, false, "", ""}, // both read as U+FFFD
		{"the empty name twice", `{"":1,"":2}`, false, false, "", ""},
		{"what follows", good + "x", false, false, "", ""},
		{"two objects", good + good, false, false, "", ""},
		{"an array", "[]", false, false, "", ""},
		{"a number", `{"username":1}`, false, false, "", ""},
		{"invalid UTF-8", "{\"username\":\"\xff\"}", false, false, "", ""},
		{"nothing", "", false, false, "", ""},
		{"a comma too many", `{"username":"a",}`, false, false, "", ""},
		{"a comment", `{"username":"a"/**/}`, false, false, "", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var got, known wire.LogInRequest
			if err := wire.Unmarshal([]byte(test.text), &got); (err == nil) != test.ok {
				t.Errorf("Unmarshal() = %v, want ok: %v", err, test.ok)
			}
			if test.ok && (got.Username != test.user || got.Password != test.pass) {
				t.Errorf("Unmarshal() read %+v, want %q and %q", got, test.user, test.pass)
			}
			if err := wire.UnmarshalKnown([]byte(test.text), &known); (err == nil) != test.known {
				t.Errorf("UnmarshalKnown() = %v, want ok: %v", err, test.known)
			}
		})
	}
}
