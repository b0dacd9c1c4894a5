package server

import (
	"context"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/wire"
)

const (
	// trailQueue bounds the forwarded requests that wait to be written down, and
	// trailBatch what one write takes.
	trailQueue = 20_000
	trailBatch = 200
	// trailPause is how long events are gathered for one write. That many may be
	// lost when the process is killed.
	trailPause = 200 * time.Millisecond
	// trailComplaint is how often it is said that events are lost.
	trailComplaint = 10 * time.Second
)

// trail writes forwarded requests to the audit trail, behind their answers. What
// finds no room is counted, shown in the metrics, and said in the log.
type trail struct {
	authority  *authority.Authority
	log        *slog.Logger
	queue      chan authority.Event
	dropped    atomic.Int64
	complained atomic.Int64 // Unix nanoseconds
}

func newTrail(a *authority.Authority, log *slog.Logger) *trail {
	return &trail{authority: a, log: log, queue: make(chan authority.Event, trailQueue)}
}

// add never waits.
func (t *trail) add(event authority.Event) {
	select {
	case t.queue <- event:
		return
	default:
	}
	lost := t.dropped.Add(1)
	now, last := time.Now().UnixNano(), t.complained.Load()
	if now-last > int64(trailComplaint) && t.complained.CompareAndSwap(last, now) {
		t.log.Error("forwarded requests come faster than the audit trail can be written; some are not in it",
			"lost", lost, "waiting", len(t.queue))
	}
}

// run writes until ctx ends, and then what is left.
func (t *trail) run(ctx context.Context) {
	for {
		select {
		case event := <-t.queue:
			t.write(ctx, event)
		case <-ctx.Done():
			for {
				select {
				case event := <-t.queue:
					t.write(ctx, event)
				default:
					if t.authority != nil { // a simulation has others
						t.authority.Flush(context.Background())
					}
					return
				}
			}
		}
	}
}

// write gathers what comes soon after the first, since a write costs the same for
// one and for many. When ctx has ended, nothing more comes.
func (t *trail) write(ctx context.Context, first authority.Event) {
	batch := append(make([]authority.Event, 0, 64), first)
	timer := time.NewTimer(trailPause)
	defer timer.Stop()
	for waiting := true; waiting && len(batch) < trailBatch; {
		select {
		case event := <-t.queue:
			batch = append(batch, event)
		case <-timer.C:
			waiting = false
		case <-ctx.Done():
			waiting = len(t.queue) > 0
		}
	}
	t.authority.RecordForwarded(context.Background(), batch...)
}

// forwardedEvent describes a request to the upstream and its outcome. The query is
// not part of it: it may hold what nobody should keep.
func (s *Server) forwardedEvent(
	r *http.Request, session authority.Session, client authority.Client, answer *statusWriter, took time.Duration,
) authority.Event {
	event := authority.Event{
		At: s.authority.Now(), Kind: authority.EventForwarded, User: session.User, SessionID: sessionID(session), Client: client.Key,
		Address: s.address(r), RequestID: r.Header.Get(wire.HeaderRequestID),
		Method: r.Method, Path: r.URL.EscapedPath(), Status: answer.status, Duration: took,
	}
	if answer.refused {
		event.Kind = authority.EventForwardRefused
	}
	if id := answer.Header().Get(wire.HeaderRequestID); id != event.RequestID {
		event.UpstreamID = id
	}
	return event
}

// sessionID is the public ID of a session; a trusted program has none.
func sessionID(session authority.Session) string {
	if session.Key == (authority.SessionKey{}) {
		return ""
	}
	return session.Key.ID()
}
