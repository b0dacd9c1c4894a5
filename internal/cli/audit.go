package cli

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/latchkey/latchkey/internal/admin"
	"github.com/latchkey/latchkey/internal/authority"
)

// followEvery is how often `audit --follow` queries new events.
const followEvery = 500 * time.Millisecond

const listAudit = "latchkey audit"

// auditQuery selects events of the trail.
type auditQuery struct {
	user   string
	client string
	kinds  []string
	since  string
	until  string
	after  int64
	limit  uint
	follow bool
	json   bool
}

func (a *app) auditCommand() *cobra.Command {
	var q auditQuery
	command := &cobra.Command{
		Use: "audit", Short: "Show who did what", Args: exactly(), GroupID: groupAdmin,
		Long: `
By default, audit shows the last 50 events. With --since or --after, it shows all events
from there on. The trail never contains a password, a token or a body. With --json, each
event is one JSON object on one line. To keep a copy:

  latchkey audit --json --limit 0 > audit.jsonl

Each event has a number that only grows, "seq" in JSON. --after continues behind the
event with that number: keep the last one that you have, and no event is missed or shown
twice. --follow continues over a restart of the server. When it ends, it prints the
command that continues.

In a terminal, request IDs are shown only if they fit.
`,
		Example: `  latchkey audit
  latchkey audit --user zoe --since 24h
  latchkey audit --kind login-failed,locked --since 2026-01-31 --until 2026-02-01
  latchkey audit --follow --json --after 4711`,
	}
	flags := command.Flags()
	flags.StringVar(&q.user, "user", "", "only events of the user `NAME`")
	flags.StringVar(&q.client, "client", "", "only events of this API `KEY`, or of the client with this label")
	flags.StringSliceVar(&q.kinds, "kind", nil, "only events of these `KINDS`, separated by commas; may be repeated")
	flags.StringVar(&q.since, "since", "",
		"only events since this `TIME`: 2h, 7d, 2026-01-31, \"2026-01-31 09:00\" or RFC 3339")
	flags.StringVar(&q.until, "until", "", "only events before this `TIME`, in the same form as --since")
	flags.Int64Var(&q.after, "after", 0, "only events after the one with the number `SEQ`")
	flags.UintVar(&q.limit, "limit", 0,
		"show the newest `N`, at most 1000; 0 shows all (default: 50, and with --since or --after all)")
	flags.Lookup("limit").DefValue = ""
	flags.BoolVar(&q.follow, "follow", false, "show further events as they happen, until Ctrl-C")
	jsonFlag(command, &q.json)
	command.AddCommand(a.auditVerifyCommand())
	a.completeFlag(command, "user", a.userNames)
	a.completeFlag(command, "client", a.apiKeys)
	a.completeFlag(command, "kind", func(context.Context, *admin.Client, string) []string { return eventKinds() })
	a.conf.check(command, func(wrong *faults) { q.check(a.Now(), wrong) })
	return a.admin(command, func(ctx context.Context, api *admin.Client, _ []string) error {
		if !isSet(command, "limit") && q.since == "" && !isSet(command, "after") {
			q.limit = 50
		}
		return a.audit(ctx, api, q)
	})
}

func eventKinds() []string {
	kinds := make([]string, len(authority.EventKinds))
	for i, kind := range authority.EventKinds {
		kinds[i] = string(kind)
	}
	slices.Sort(kinds)
	return kinds
}

// check adds what is wrong with the query to wrong.
func (q *auditQuery) check(now time.Time, wrong *faults) {
	for _, bound := range [][2]string{{"--since", q.since}, {"--until", q.until}} {
		if _, ok := parseSince(bound[1], now); bound[1] != "" && !ok {
			wrong.add("%s %q is not a time; write it like 2h, 7d, 2026-01-31, \"2026-01-31 09:00\" or 2026-01-31T09:00:00Z",
				bound[0], bound[1])
		}
	}
	for _, kind := range q.kinds {
		if known := eventKinds(); !slices.Contains(known, kind) {
			wrong.add("--kind %q is not a kind of event%s; the kinds are %s",
				kind, didYouMean(kind, known, ""), strings.Join(known, ", "))
		}
	}
	if q.after < 0 {
		wrong.add("--after %d is negative", q.after)
	}
	if q.limit > admin.MaxPage {
		wrong.add("--limit %d is over %d; 0 shows all", q.limit, admin.MaxPage)
	}
	if q.follow && q.until != "" {
		wrong.add("--follow and --until exclude each other")
	}
}

// filter returns the query in the form of the admin API.
func (a *app) filter(ctx context.Context, api *admin.Client, q auditQuery) (url.Values, error) {
	filter := url.Values{}
	for name, value := range map[string]string{"since": q.since, "until": q.until} {
		if at, ok := parseSince(value, a.Now()); ok {
			filter.Set(name, at.UTC().Format(time.RFC3339Nano))
		}
	}
	if q.user != "" {
		filter.Set("user", q.user)
	}
	if len(q.kinds) > 0 {
		filter["kind"] = q.kinds
	}
	if q.client != "" {
		key, err := a.keyOf(ctx, api, q.client, true)
		if err != nil {
			return nil, err
		}
		filter.Set("client", key.Key)
	}
	return filter, nil
}

func (a *app) audit(ctx context.Context, api *admin.Client, q auditQuery) error {
	if q.follow && a.direct {
		return fail(exitUnavailable, "no server runs on this data directory, so there is nothing to follow").
			hint("start the server, or leave out --follow")
	}
	filter, err := a.filter(ctx, api, q)
	if err != nil {
		return err
	}
	if err := a.checkCursor(ctx, api, q.after); err != nil {
		return adminFailure(err, "event", listAudit)
	}
	last, shown, err := a.auditTo(ctx, api, filter, q, q.after)
	if err != nil || !q.follow {
		if err == nil && !shown && !q.json {
			a.note("no events match")
		}
		return adminFailure(err, "event", listAudit)
	}
	q.limit = 0
	return a.follow(ctx, api, filter, q, last)
}

// checkCursor warns if events after a number have been removed, or if the trail ends before it.
func (a *app) checkCursor(ctx context.Context, api *admin.Client, after int64) error {
	if after == 0 {
		return nil
	}
	var oldest, newest admin.Events
	if err := api.Get(ctx, admin.PathAudit, url.Values{"limit": {"1"}}, &oldest); err != nil {
		return err
	}
	if err := api.Get(ctx, admin.PathAudit, url.Values{"limit": {"1"}, "last": {"true"}}, &newest); err != nil {
		return err
	}
	switch {
	case len(newest.Events) == 0 || newest.Events[0].Seq < after:
		end := int64(0)
		if len(newest.Events) > 0 {
			end = newest.Events[0].Seq
		}
		a.warn("the trail ends at #%d, before #%d: it was restored from a backup, or it is a different one", end, after)
	case oldest.Events[0].Seq > after+1:
		a.warn("events #%d to #%d have been removed by the retention (--keep-audit) and are not shown",
			after+1, oldest.Events[0].Seq-1)
	}
	return nil
}

// follow shows events as they happen. While the server is unavailable, it waits for it.
func (a *app) follow(ctx context.Context, api *admin.Client, filter url.Values, q auditQuery, last int64) error {
	ticker := time.NewTicker(followEvery)
	defer ticker.Stop()
	defer func() { a.note("to continue from here: latchkey audit --follow --after %d", last) }()
	for away := false; ; {
		select {
		case <-ctx.Done():
			return nil // Ctrl-C is the regular end
		case <-ticker.C:
		}
		var err error
		if away {
			err = a.checkCursor(ctx, api, last)
		}
		if err == nil {
			last, _, err = a.auditTo(ctx, api, filter, q, last)
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil && away:
			away = false
			a.note("the server is available again")
		case err == nil:
		case !isAway(err):
			return adminFailure(err, "event", listAudit)
		case !away:
			away = true
			a.note("the server is unavailable: %v; waiting for it", err)
		}
	}
}

// isAway reports whether err means that the server is unavailable and may come back.
func isAway(err error) bool {
	var refusal *admin.Error
	if errors.As(err, &refusal) {
		return refusal.Code == admin.CodeUnavailable || refusal.Code == admin.CodeOverloaded
	}
	return isAny(err, io.EOF, io.ErrUnexpectedEOF, fs.ErrNotExist) || errors.As(err, new(*net.OpError))
}

// auditTo prints the events after one, up to the newest. It returns the number of the
// last event, and whether it printed any.
func (a *app) auditTo(
	ctx context.Context, api *admin.Client, filter url.Values, q auditQuery, after int64,
) (last int64, shown bool, err error) {
	for {
		query := url.Values{"after": {strconv.FormatInt(after, 10)}, "limit": {strconv.Itoa(admin.MaxPage)}}
		for name, values := range filter {
			query[name] = values
		}
		if q.limit > 0 {
			query.Set("limit", strconv.FormatUint(uint64(q.limit), 10))
			query.Set("last", "true")
		}
		var page admin.Events
		if err := api.Get(ctx, admin.PathAudit, query, &page); err != nil {
			return after, shown, err
		}
		for _, event := range page.Events {
			if err := a.printEvent(event, q.json); err != nil {
				return after, shown, err
			}
			after, shown = event.Seq, true
		}
		if q.limit > 0 || len(page.Events) < admin.MaxPage {
			return after, shown, nil
		}
	}
}
