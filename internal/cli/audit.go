package cli

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/latchkey/latchkey/internal/admin"
	"github.com/latchkey/latchkey/internal/authority"
)

// followEvery is how often `audit --follow` queries for new events.
const followEvery = 500 * time.Millisecond

const listAudit = "latchkey audit"

// auditQuery holds the flags of `audit`.
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
		Use: "audit", Short: "Show the audit trail: who did what", Args: exactly(), GroupID: groupAdmin,
		Long: `
By default, audit shows the last 50 events. With --since or --after, it shows all events
from there on. The trail never contains passwords, tokens or request bodies. With --json,
each event is a JSON object on its own line. To keep a copy:

  latchkey audit --json --limit 0 > audit.jsonl

Each event has an increasing number, "seq" in JSON. --after shows the events after that
number. If you give the number of the last event that you have, no event is missed or
shown twice. --follow continues after a restart of the server. When it ends, it prints
the command that continues from there.

On a terminal, request IDs are shown only if they fit.
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

// check adds the mistakes in the flags to wrong.
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

// query returns q as a query of the admin API. It looks up the key of a client.
func (a *app) query(ctx context.Context, api *admin.Client, q auditQuery) (admin.EventQuery, error) {
	query := admin.EventQuery{User: q.user, Kinds: q.kinds, Limit: admin.MaxPage}
	if q.limit > 0 {
		query.Limit, query.Last = int(q.limit), true
	}
	query.Since, _ = parseSince(q.since, a.Now()) // check has reported what is no time
	query.Until, _ = parseSince(q.until, a.Now())
	if q.client != "" {
		client, err := a.keyOf(ctx, api, q.client, true)
		if err != nil {
			return query, err
		}
		query.Client = client.Key
	}
	return query, nil
}

func (a *app) audit(ctx context.Context, api *admin.Client, q auditQuery) error {
	if q.follow && a.direct {
		return fail(exitUnavailable, "no server runs on this data directory, so there is nothing to follow").
			hint("start the server, or leave out --follow")
	}
	query, err := a.query(ctx, api, q)
	if err != nil {
		return err
	}
	if err := a.checkCursor(ctx, api, q.after); err != nil {
		return adminFailure(err, "event", listAudit)
	}
	last, shown, err := a.printEvents(ctx, api, query, q.after, q.json)
	if err != nil || !q.follow {
		if err == nil && !shown && !q.json {
			a.note("no events match")
		}
		return adminFailure(err, "event", listAudit)
	}
	query.Limit, query.Last = admin.MaxPage, false
	return a.follow(ctx, api, query, last, q.json)
}

// checkCursor warns if events after a number have been removed, or if the trail ends
// before it.
func (a *app) checkCursor(ctx context.Context, api *admin.Client, after int64) error {
	if after == 0 {
		return nil
	}
	oldest, err := api.Events(ctx, admin.EventQuery{Limit: 1})
	if err != nil {
		return err
	}
	newest, err := api.Events(ctx, admin.EventQuery{Limit: 1, Last: true})
	if err != nil {
		return err
	}
	switch {
	case len(newest) == 0 || newest[0].Seq < after:
		end := int64(0)
		if len(newest) > 0 {
			end = newest[0].Seq
		}
		a.warn("the trail ends at #%d, before #%d: it was restored from a backup, or it is a different one", end, after)
	case oldest[0].Seq > after+1:
		a.warn("events #%d to #%d have been removed by the retention (--keep-audit) and are not shown",
			after+1, oldest[0].Seq-1)
	}
	return nil
}

// follow prints events as they happen. While the server is unavailable, it tries again.
func (a *app) follow(
	ctx context.Context, api *admin.Client, query admin.EventQuery, last int64, asJSON bool,
) error {
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
			last, _, err = a.printEvents(ctx, api, query, last, asJSON)
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
	var reported *admin.Error
	if errors.As(err, &reported) {
		return reported.Code == admin.CodeUnavailable
	}
	return isAny(err, io.EOF, io.ErrUnexpectedEOF, fs.ErrNotExist) || errors.As(err, new(*net.OpError))
}

// printEvents prints the events after a number that query selects, up to the newest. It
// returns the number of the last event, and whether it printed any.
func (a *app) printEvents(
	ctx context.Context, api *admin.Client, query admin.EventQuery, after int64, asJSON bool,
) (last int64, shown bool, err error) {
	for {
		query.After = after
		events, err := api.Events(ctx, query)
		if err != nil {
			return after, shown, err
		}
		for _, event := range events {
			if err := a.printEvent(event, asJSON); err != nil {
				return after, shown, err
			}
			after, shown = event.Seq, true
		}
		if query.Last || len(events) < admin.MaxPage {
			return after, shown, nil
		}
	}
}
