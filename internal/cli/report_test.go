package cli_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/cli"
)

// adviser is an error of another package with advice.
type adviser struct{ text, hint string }

func (e *adviser) Error() string { return e.text }
func (e *adviser) Hint() string  { return e.hint }

func TestReportPrintsEachHintOnItsOwnLine(t *testing.T) {
	full := &adviser{"disk full", "free space"}
	refused := &adviser{"login refused", "check the password\nthen try again"}
	for _, c := range []struct {
		name string
		err  error
		want string
	}{
		{"no hint", errors.New("latchkey: it failed"), "latchkey: it failed\n"},
		{"of another package", errors.New("keeper: it failed"), "latchkey: it failed\n"},
		{"hint", full, "latchkey: disk full\nhint: free space\n"},
		{"two lines", refused, "latchkey: login refused\nhint: check the password\nhint: then try again\n"},
		{"wrapped", fmt.Errorf("write state: %w", full), "latchkey: write state: disk full\nhint: free space\n"},
		{"wrapped by a failure", cli.Fail(1, "", "%w; nothing was sent", full),
			"latchkey: disk full; nothing was sent\nhint: free space\n"},
		{"replaced by a failure", cli.Fail(1, "use another disk", "%w; nothing was sent", full),
			"latchkey: disk full; nothing was sent\nhint: use another disk\n"},
		{"joined", errors.Join(full, refused, full), "latchkey: disk full\nlogin refused\ndisk full\n" +
			"hint: free space\nhint: check the password\nhint: then try again\n"},
		{"no text", &adviser{"", "free space"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got strings.Builder
			cli.Report(&got, c.err, false)
			if got.String() != c.want {
				t.Errorf("report prints %q, want %q", got.String(), c.want)
			}
		})
	}
}

func TestReportPrintsJSON(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	var got strings.Builder
	cli.Report(&got, cli.Fail(3, "see <that>", "refused"), true)
	if want := `{"error":"refused","hint":"see <that>","exitCode":3}` + "\n"; got.String() != want {
		t.Errorf("report prints %s, want %s", got.String(), want)
	}
	_, said := run(t, 2, "", "login", "--json")
	has(t, said, `{"error":"`, `"hint":"`, `"exitCode":2}`)
	_, said = run(t, 2, "", "login", "--json", "--no-such-flag")
	has(t, said, `{"error":"`, `"exitCode":2}`)
	t.Setenv("LATCHKEY_JSON", "true")
	_, said = run(t, 2, "", "login")
	has(t, said, `{"error":"`)
	_, said = run(t, 2, "", "login", "--json=false")
	has(t, said, "latchkey: ")
}
