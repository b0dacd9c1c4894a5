package cli_test

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/latchkey/latchkey/internal/cli"
)

// following runs audit --follow until stop is called, which returns its exit code.
func following(t *testing.T, args ...string) (out, said *screen, stop func() int) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	out, said = newScreen(), newScreen()
	ended := make(chan int, 1)
	go func() {
		ended <- cli.Run(ctx, cli.IO{In: strings.NewReader(""), Out: out, Err: said},
			append([]string{"audit", "--follow"}, args...)...)
	}()
	t.Cleanup(cancel)
	return out, said, func() int { cancel(); return <-ended }
}

func TestAuditFollowContinuesOverARestart(t *testing.T) {
	t.Parallel()
	data := t.TempDir() + "/data"
	serving := func() *served {
		t.Helper()
		s, err := start(cli.IO{}, "serve", "--listen", "127.0.0.1:0", "--data", data)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	server := serving()
	run(t, 0, "", "user", "add", "before", "--data", data)
	out, said, stop := following(t, "--json", "--data", data)
	out.waitFor(t, `"user":"(before)"`)
	for round := range 2 {
		server.stop()
		said.waitFor(t, strings.Repeat(`(?s).*is unavailable`, round+1)+`(.)`)
		run(t, 0, "", "user", "add", fmt.Sprint("between", round), "--data", data) // the command opens the database
		server = serving()
		out.waitFor(t, fmt.Sprintf(`"user":"(between%d)"`, round))
		said.waitFor(t, strings.Repeat(`(?s).*is available again`, round+1)+`(.)`)
		run(t, 0, "", "user", "add", fmt.Sprint("after", round), "--data", data)
		out.waitFor(t, fmt.Sprintf(`"user":"(after%d)"`, round))
	}
	if code := stop(); code != 0 {
		t.Errorf("it ends with %d:\n%s", code, said)
	}
	seen := regexp.MustCompile(`"seq":(\d+),`).FindAllStringSubmatch(out.String(), -1)
	for i, match := range seen {
		if match[1] != fmt.Sprint(i+1) {
			t.Fatalf("event %d is #%s:\n%s", i+1, match[1], out)
		}
	}
	if len(seen) != 5 {
		t.Errorf("%d events were shown, not 5:\n%s", len(seen), out)
	}

	// It prints the command that continues, and that command continues there.
	cursor := regexp.MustCompile(`--after (\d+)`).FindStringSubmatch(said.String())
	if cursor == nil || cursor[1] != "5" {
		t.Fatalf("it does not print the command that continues:\n%s", said)
	}
	run(t, 0, "", "user", "lock", "before", "--data", data)
	out, said, stop = following(t, "--json", "--after", cursor[1], "--kind", "locked,unlocked", "--data", data)
	out.waitFor(t, `"seq":(6),`)
	if strings.Contains(out.String(), `"seq":5`) {
		t.Errorf("an event is shown again:\n%s", out)
	}
	run(t, 0, "", "user", "disable", "before", "--data", data)
	run(t, 0, "", "user", "unlock", "before", "--data", data)
	out.waitFor(t, `"kind":"(unlocked)"`)
	if strings.Contains(out.String(), "user-disabled") {
		t.Errorf("events of other kinds are shown:\n%s", out)
	}

	// A server with another database is not followed.
	server.stop()
	said.waitFor(t, `(is unavailable)`)
	other, err := start(cli.IO{}, "serve", "--listen", "127.0.0.1:0", "--data", data,
		"--database", "sqlite:"+data+"/other.db")
	if err != nil {
		t.Fatal(err)
	}
	defer other.stop()
	said.waitFor(t, `(the server has another database now: sqlite:.*other\.db)`)
	if code := stop(); code != 1 {
		t.Errorf("it ends with %d:\n%s", code, said)
	}
}
