package cli

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/admin"
	"github.com/latchkey/latchkey/internal/wire"
)

// printEvent prints one event, on one line if it fits. Columns are not aligned, because
// later events are not known yet.
func (a *app) printEvent(event admin.Event, asJSON bool) error {
	if asJSON {
		text, err := wire.Marshal(event)
		if err != nil {
			return err
		}
		return a.print("%s", text)
	}
	first := fmt.Sprintf("%s  %-22s %s",
		event.At.Local().Format("2006-01-02 15:04:05"), event.Kind, cmp.Or(quoted(event.User), "-"))
	var parts []string
	if event.Method != "" {
		parts = append(parts, fmt.Sprintf("%s %s %d %.0fms",
			printable(event.Method), printable(event.Host+event.Path), event.Status, event.DurationMS))
	}
	if event.Count > 1 {
		parts = append(parts, fmt.Sprintf("%d times", event.Count))
	}
	named := func(name, value string) {
		if value != "" {
			parts = append(parts, name+" "+printable(value))
		}
	}
	named("session", event.Session)
	named("client", event.Client)
	named("from", event.Address)
	width := a.columns()
	if width == 0 { // not a terminal: the whole event on one line
		named("request", event.RequestID)
		named("upstream", event.UpstreamRequestID)
	}
	if event.Detail != "" {
		parts = append(parts, "("+printable(event.Detail)+")")
	}
	lines := fold(first, parts, width)
	if width > 0 {
		for _, id := range [][2]string{{"request", event.RequestID}, {"upstream", event.UpstreamRequestID}} {
			text := "  " + id[0] + " " + printable(id[1])
			if end := len(lines) - 1; id[1] != "" && displayed(lines[end]+text) <= width {
				lines[end] += text
			}
		}
	}
	return a.print("%s", strings.Join(lines, "\n"))
}

// fold joins the parts with two spaces, and begins an indented line before a part that
// would exceed width; 0 is no limit. It cuts a part that is longer than a line.
func fold(first string, parts []string, width int) []string {
	const indent = "    "
	lines := []string{cut(first, width)}
	for _, part := range parts {
		end := len(lines) - 1
		if width == 0 || displayed(lines[end])+2+displayed(part) <= width {
			lines[end] += "  " + part
		} else {
			lines = append(lines, cut(indent+part, width))
		}
	}
	return lines
}

// quoted returns a name, in quotation marks if it is ambiguous without them.
func quoted(name string) string {
	name = printable(name)
	if strings.ContainsAny(name, " \"") {
		return strconv.Quote(name)
	}
	return name
}

// parseSince parses a time or how long ago it was. A time without a zone is local.
func parseSince(text string, now time.Time) (time.Time, bool) {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil {
			return now.AddDate(0, 0, -int(n)), true
		}
	}
	if ago, err := time.ParseDuration(text); err == nil && ago >= 0 {
		return now.Add(-ago), true
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, true
	}
	for _, layout := range []string{"2006-01-02", "2006-01-02 15:04", "2006-01-02 15:04:05"} {
		if t, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}
