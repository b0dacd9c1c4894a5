package storetest

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/authority"
)

func audit(t *testing.T, s authority.Stores) {
	ctx := t.Context()
	for i := range 10 {
		must(t, s.Audit.AppendAudit(ctx, authority.Event{At: start.Add(time.Duration(i) * time.Second), Kind: authority.EventLogIn,
			User: fmt.Sprintf("u%d", i%2), SessionID: "s", Client: "c", Address: "a", RequestID: "r", Detail: strconv.Itoa(i)}))
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
	want := authority.Event{Seq: first[0].Seq, At: start, Kind: authority.EventLogIn, User: "u0", SessionID: "s", Client: "c", Address: "a", RequestID: "r", Detail: "0"}
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
		batch = append(batch, authority.Event{At: start.Add(time.Hour), Kind: authority.EventForwarded, Detail: strconv.Itoa(i)})
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
	for _, step := range []struct{ limit, want int }{{30, 30}, {30, 10}, {30, 0}} {
		n, err := s.Audit.TrimAudit(ctx, start.Add(time.Hour), start.Add(2*time.Hour), step.limit)
		must(t, err)
		equal(t, "trimmed events", n, step.want)
	}
	left, err := s.Audit.AuditEvents(ctx, authority.AuditQuery{Limit: 1000})
	must(t, err)
	equal(t, "what is left", len(left), len(batch)+3)
	equal(t, "the first that is left", left[0], events[40])
	notes := left[len(left)-2:]
	equal(t, "the chain of the first note", notes[0].Chain, notes[0].After(left[len(left)-3].Chain))
	equal(t, "the second note", notes[1].Detail, authority.TrimmedDetail(10, events[39].Seq, events[39].Chain))
}
