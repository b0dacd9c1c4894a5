package storetest

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/latchkey/latchkey/internal/authority"
)

func audit(t *testing.T, s authority.Stores) {
	ctx := t.Context()
	for i := range 10 {
		must(t, s.Audit.AppendAudit(ctx, authority.Event{
			At: start.Add(time.Duration(i) * time.Second), Kind: authority.EventLogIn,
			User: fmt.Sprintf("u%d", i%2), SessionID: "s", Client: "c", Address: "a", RequestID: "r", Detail: strconv.Itoa(i),
		}))
	}
	details := func(query authority.AuditQuery) string {
		events, err := s.Audit.AuditEvents(ctx, query)
		must(t, err)
		text, seq := "", int64(0)
		for _, e := range events {
			if e.Seq <= seq {
				t.Fatal("events are not in order")
			}
			seq = e.Seq
			text += e.Detail
		}
		return text
	}
	equal(t, "all", details(authority.AuditQuery{}), "0123456789")
	equal(t, "limited", details(authority.AuditQuery{Limit: 3}), "012")
	equal(t, "the last", details(authority.AuditQuery{Limit: 3, Last: true}), "789")
	equal(t, "of a user", details(authority.AuditQuery{User: "u1"}), "13579")
	equal(t, "since", details(authority.AuditQuery{Since: start.Add(7 * time.Second)}), "789")
	first, err := s.Audit.AuditEvents(ctx, authority.AuditQuery{Limit: 1})
	must(t, err)
	equal(t, "after", details(authority.AuditQuery{After: first[0].Seq}), "123456789")
	locked := authority.Event{
		At: start.Add(20 * time.Second), Kind: authority.EventLocked, User: "u1", Client: "d", Detail: "A",
	}
	added := authority.Event{At: start.Add(21 * time.Second), Kind: authority.EventClientAdded, Detail: "d"}
	must(t, s.Audit.AppendAudit(ctx, locked, added))
	equal(t, "until", details(authority.AuditQuery{Until: start.Add(3 * time.Second)}), "012")
	equal(t, "between",
		details(authority.AuditQuery{Since: start.Add(2 * time.Second), Until: start.Add(4 * time.Second)}), "23")
	equal(t, "of a client", details(authority.AuditQuery{Client: "d"}), "Ad")
	equal(t, "of a client and a user", details(authority.AuditQuery{Client: "c", User: "u0"}), "02468")
	kinds := func(kinds ...authority.EventKind) []authority.EventKind { return kinds }
	equal(t, "of a kind", details(authority.AuditQuery{Kinds: kinds(authority.EventLocked)}), "A")
	equal(t, "of kinds",
		details(authority.AuditQuery{Kinds: kinds(authority.EventClientAdded, authority.EventLocked), User: "u1"}), "A")
	equal(t, "of a kind that is not there", details(authority.AuditQuery{Kinds: kinds(authority.EventReset)}), "")
	equal(t, "the last of a kind",
		details(authority.AuditQuery{Kinds: kinds(authority.EventLogIn), Last: true, Limit: 2}), "89")
	want := authority.Event{
		Seq: first[0].Seq, At: start, Kind: authority.EventLogIn,
		User: "u0", SessionID: "s", Client: "c", Address: "a", RequestID: "r", Detail: "0",
	}
	want.Chain = want.After(authority.Chain{})
	equal(t, "an event", first[0], want)
}

// auditChain holds that each event is tied to the one before, over restarts of the
// sequence by trimming, too.
func auditChain(t *testing.T, s authority.Stores) {
	ctx := t.Context()
	many(20, func(i int) {
		must(t, s.Audit.AppendAudit(ctx,
			authority.Event{At: start.Add(time.Duration(i)), Kind: authority.EventLogIn, Detail: strconv.Itoa(i)},
			authority.Event{At: start.Add(time.Duration(i)), Kind: authority.EventLogOut, Detail: strconv.Itoa(i)}))
	})
	must(t, s.Audit.AppendAudit(ctx, authority.Event{At: start.Add(time.Hour), Kind: authority.EventLogIn}))
	var batch []authority.Event
	for i := range 123 { // more than a store might write at once
		batch = append(batch, authority.Event{
			At: start.Add(time.Hour), Kind: authority.EventForwarded, Detail: strconv.Itoa(i),
		})
	}
	must(t, s.Audit.AppendAudit(ctx, batch...))
	events, err := s.Audit.AuditEvents(ctx, authority.AuditQuery{Limit: 1000})
	must(t, err)
	equal(t, "events", len(events), 41+len(batch))
	var head authority.Chain
	for _, e := range events {
		head = e.After(head)
		equal(t, "the chain", e.Chain, head)
	}
	note := func(removed int, seq int64, chain authority.Chain) authority.Event {
		return authority.Event{
			At: start.Add(2 * time.Hour), Kind: authority.EventAuditTrimmed, Detail: fmt.Sprint(removed, seq, chain),
		}
	}
	for _, step := range []struct{ limit, want int }{{30, 30}, {30, 10}, {30, 0}} {
		n, err := s.Audit.TrimAudit(ctx, start.Add(time.Hour), start.Add(2*time.Hour), step.limit, note)
		must(t, err)
		equal(t, "trimmed events", n, step.want)
	}
	left, err := s.Audit.AuditEvents(ctx, authority.AuditQuery{Limit: 1000})
	must(t, err)
	equal(t, "what is left", len(left), len(batch)+3)
	equal(t, "the first that is left", left[0], events[40])
	notes := left[len(left)-2:]
	equal(t, "the chain of the first note", notes[0].Chain, notes[0].After(left[len(left)-3].Chain))
	equal(t, "the second note", notes[1].Detail, fmt.Sprint(10, events[39].Seq, events[39].Chain))
}

// auditText holds that a store keeps what callers and upstreams may send, as
// authority.Event.Valid makes it.
func auditText(t *testing.T, s authority.Stores) {
	ctx := t.Context()
	odd := []string{
		"\x00", "\xff", "a\x00b\xffc", "\xc3", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xef\xbf\xbf", "\u2028", "\x1b[2J",
		strings.Repeat("é", 2000),
	}
	var batch []authority.Event
	for i, text := range odd {
		batch = append(batch, authority.Event{
			At: start.Add(time.Duration(i) * time.Second), Kind: authority.EventKind(text), User: text, SessionID: text,
			Client: text, Address: text, RequestID: text, Method: text, Host: text, Path: "/" + text, Status: 200 + i,
			Duration: 1234567 * time.Nanosecond, UpstreamID: text, Count: i, Detail: text,
		})
	}
	must(t, s.Audit.AppendAudit(ctx, batch...))
	must(t, s.Audit.AppendAudit(ctx, batch[0]))
	events, err := s.Audit.AuditEvents(ctx, authority.AuditQuery{})
	must(t, err)
	equal(t, "events", len(events), len(odd)+1)
	var head authority.Chain
	for i, e := range events {
		want := batch[i%len(odd)].Valid()
		want.Seq, want.Chain = e.Seq, want.After(head)
		equal(t, "an event", e, want)
		head = want.Chain
		for _, text := range []string{
			string(e.Kind), e.User, e.SessionID, e.Client, e.Address, e.RequestID, e.Method, e.Host, e.Path, e.UpstreamID,
			e.Detail,
		} {
			if !utf8.ValidString(text) || strings.Contains(text, "\x00") || text == "" || len(text) > 1024 {
				t.Fatalf("a text is kept as %q", text)
			}
		}
	}
	equal(t, "a path", events[2].Path, "/a%00b%FFc")
	equal(t, "a user", events[2].User, "a\ufffdb\ufffdc")
	equal(t, "a duration", events[2].Duration, 1234*time.Microsecond)
}
