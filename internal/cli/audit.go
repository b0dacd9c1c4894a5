package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/latchkey/latchkey/internal/wire"
)

// followEvery is how often `audit --follow` asks for news.
const followEvery = 500 * time.Millisecond

// auditQuery is what of the trail is asked for.
type auditQuery struct {
	user   string
	since  string
	limit  uint
	follow bool
	json   bool
}

func (a *app) auditCommand() *cobra.Command {
	var q auditQuery
	command := &cobra.Command{
		Use: "audit", Short: "Show who did what", Args: exactly(), GroupID: groupAdmin,
		Long: `
Without flags it shows the last 50 events; with --since, all since then. It never
holds a password, a token or a body. With --json it prints one JSON object to a
line, so this keeps a copy:  latchkey audit --json --limit 0 > audit.jsonl
`,
		Example: `  latchkey audit
  latchkey audit --user zoe --since 24h
  latchkey audit --follow --json`,
	}
	flags := command.Flags()
	flags.StringVar(&q.user, "user", "", "only events of the user `NAME`")
	flags.StringVar(&q.since, "since", "", "only events since this `TIME`: 2h, 7d, 2026-01-31, \"2026-01-31 09:00\" or RFC 3339")
	flags.UintVar(&q.limit, "limit", 0, "show the newest `N`, at most 1000; 0 shows all (default: 50, and with --since all)")
	flags.Lookup("limit").DefValue = ""
	flags.BoolVar(&q.follow, "follow", false, "go on showing events as they happen, until Ctrl-C")
	jsonFlag(command, &q.json)
	command.AddCommand(a.auditVerifyCommand())
	return a.admin(command, func(ctx context.Context, api adminAPI, _ []string) error {
		if !isSet(command, "limit") && q.since == "" {
			q.limit = 50
		}
		return a.audit(ctx, api, q)
	})
}

func (a *app) audit(ctx context.Context, api adminAPI, q auditQuery) error {
	if q.follow && a.direct {
		return fail(exitUnavailable, "no server runs on this data directory, so there is nothing to follow; start it, or leave out --follow")
	}
	filter := url.Values{}
	if q.user != "" {
		filter.Set("user", q.user)
	}
	if q.since != "" {
		since, ok := parseSince(q.since, a.Now())
		if !ok {
			return usage("--since %q is no time; write it like 2h, 7d, 2026-01-31, \"2026-01-31 09:00\" or 2026-01-31T09:00:00Z", q.since)
		}
		filter.Set("since", since.UTC().Format(time.RFC3339Nano))
	}
	if q.limit > maxPage {
		return usage("--limit %d is over %d; 0 shows all", q.limit, maxPage)
	}
	last, shown, err := a.auditTo(ctx, api, filter, q, 0)
	if err != nil || !q.follow {
		if err == nil && !shown && !q.json {
			a.note("there are no such events")
		}
		return adminFailure(err, "event", "latchkey audit")
	}
	ticker := time.NewTicker(followEvery)
	defer ticker.Stop()
	q.limit = 0
	for {
		select {
		case <-ctx.Done():
			return nil // Ctrl-C is how following ends
		case <-ticker.C:
		}
		if last, _, err = a.auditTo(ctx, api, filter, q, last); err != nil && ctx.Err() == nil {
			return adminFailure(err, "event", "latchkey audit")
		}
	}
}

// auditTo prints the events behind one, up to the newest. It answers the number
// of the last event, and whether it printed any.
func (a *app) auditTo(ctx context.Context, api adminAPI, filter url.Values, q auditQuery, after int64) (last int64, shown bool, err error) {
	for {
		query := url.Values{"after": {strconv.FormatInt(after, 10)}, "limit": {strconv.Itoa(maxPage)}}
		for name, values := range filter {
			query[name] = values
		}
		if q.limit > 0 {
			query.Set("limit", strconv.FormatUint(uint64(q.limit), 10))
			query.Set("last", "true")
		}
		var page wire.AdminEvents
		if err := api.Get(ctx, wire.PathAdminAudit, query, &page); err != nil {
			return after, shown, err
		}
		for _, event := range page.Events {
			if err := a.printEvent(event, q.json); err != nil {
				return after, shown, err
			}
			after, shown = event.Seq, true
		}
		if q.limit > 0 || len(page.Events) < maxPage {
			return after, shown, nil
		}
	}
}

// printEvent prints one event on a line of its own. There are no columns to
// align with: lines come one by one.
func (a *app) printEvent(event wire.AdminEvent, asJSON bool) error {
	if asJSON {
		encoder := json.NewEncoder(a.Out)
		encoder.SetEscapeHTML(false)
		return encoder.Encode(event)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %-22s %s", event.At.Local().Format("2006-01-02 15:04:05"), event.Kind, cmp.Or(quoted(event.User), "-"))
	if event.Method != "" {
		fmt.Fprintf(&b, "  %s %s %d %.0fms", printable(event.Method), printable(event.Host+event.Path), event.Status, event.DurationMS)
	}
	if event.Count > 1 {
		fmt.Fprintf(&b, "  %d times", event.Count)
	}
	for _, part := range [][2]string{
		{"session", event.Session}, {"client", event.Client}, {"from", event.Address}, {"request", event.RequestID},
		{"upstream", event.UpstreamRequestID},
	} {
		if part[1] != "" {
			fmt.Fprintf(&b, "  %s %s", part[0], printable(part[1]))
		}
	}
	if event.Detail != "" {
		fmt.Fprintf(&b, "  (%s)", printable(event.Detail))
	}
	return a.print("%s", b.String())
}

// quoted returns a name in quotation marks if it could be read as more than a name.
func quoted(name string) string {
	name = printable(name)
	if strings.ContainsAny(name, " \"") {
		return strconv.Quote(name)
	}
	return name
}

// parseSince reads a time, or how long ago it was. Without a zone it is local.
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

func (a *app) auditVerifyCommand() *cobra.Command {
	var head string
	var asJSON bool
	command := &cobra.Command{
		Use: "verify", Short: "Check that the trail is what was written", Args: exactly(),
		Long: `
Each event is tied to the one before by a hash, so that one which was changed,
removed, added or moved is found. That the end was cut off, or everything forged
anew, only a head tells that was kept elsewhere: verify prints one, and --head takes
one from before. If the event of that head is gone, the trail counts as broken unless
the server's key proves that the retention removed it (--keep-audit). The exit code is
1 if the trail is broken.
`,
		Example: "  latchkey audit verify\n  latchkey audit verify --head 4711:5d41402abc4b2a76b9719d911017c592…",
	}
	command.Flags().StringVar(&head, "head", "", "the `HEAD` that an earlier verify printed")
	jsonFlag(command, &asJSON)
	return a.admin(command, func(ctx context.Context, api adminAPI, _ []string) error {
		query := url.Values{}
		if head != "" {
			seq, chain, ok := strings.Cut(head, ":")
			if !ok {
				return usage("--head %q is not one that verify prints, like 4711:5d41…; nothing was done", head)
			}
			query.Set("seq", seq)
			query.Set("chain", chain)
		}
		var proof wire.AdminProof
		if err := api.Get(ctx, wire.PathAdminAuditVerify, query, &proof); err != nil {
			return adminFailure(err, "event", "latchkey audit")
		}
		return a.printProof(proof, asJSON)
	})
}

func (a *app) printProof(proof wire.AdminProof, asJSON bool) error {
	if asJSON {
		if err := a.printJSON(proof); err != nil {
			return err
		}
	}
	if proof.Broken != 0 {
		return fail(exitFailed, "the audit trail is broken at event #%d: %s; the events before #%d are chained to one another; compare the trail with a backup or an export (latchkey audit --json)", proof.Broken, proof.Problem, proof.Broken)
	}
	if asJSON {
		return nil
	}
	if proof.HeadTrimmed {
		a.note("the event of that head is gone: the retention removed it since, as a seal of the server's key proves; keep the head below")
	}
	if proof.Unproven {
		a.note("events before #%d are gone; the event that says that they were trimmed carries no seal of the server's key", proof.First)
	}
	old := ""
	if proof.Unchained > 0 {
		old = fmt.Sprintf(" (%d of them are from before there was a chain)", proof.Unchained)
	}
	return a.print("%d events are as they were written%s\nhead  %d:%s", proof.Events, old, proof.Last, proof.Head)
}
