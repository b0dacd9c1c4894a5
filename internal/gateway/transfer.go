package gateway

import (
	"context"
	"errors"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/latchkey/latchkey/internal/authority"
)

const (
	// flowTimeout is how long a body may stand still in either direction.
	flowTimeout = time.Minute
	// ticksPerFlow is how often that is looked at.
	ticksPerFlow = 12
	// A request's body has graceFlows times flowTimeout to arrive, and a second more
	// for each uploadRate bytes that have arrived.
	graceFlows = 10
	uploadRate = 1 << 10
	// departure is how soon after a read the server notices that a caller has left.
	departure = 100 * time.Millisecond
)

var (
	// errStoodStill is why a transfer is cut off.
	errStoodStill = errors.New("the upstream neither took the request nor sent a response in time")
	// longAgo is a deadline that has passed.
	longAgo = time.Unix(1, 0)
)

// transfer is a request and its response on their way through the gateway. It takes
// the place of the server's deadlines, which are those of a short exchange: a
// transfer may take as long as it moves. Over HTTP/2 a deadline that has passed
// resets the stream even if nobody was waiting then, so there are none; instead the
// transfer looks now and then whether a step is overdue, and ends it.
type transfer struct {
	http.ResponseWriter // to the caller

	control  *http.ResponseController
	caller   context.Context // ends if the caller leaves
	cancel   context.CancelCauseFunc
	user     string
	flow     time.Duration // flowTimeout
	patience time.Duration // how long the upstream may take to begin the response; 0: for ever

	upload   steps                 // reading the request's body from the caller
	download steps                 // waiting for the upstream, and writing to the caller
	arrived  atomic.Int64          // bytes of the request's body
	broken   atomic.Pointer[error] // why the request's body could not be read
	stopped  atomic.Bool           // no more of it is wanted
	attempts atomic.Int32
	answered atomic.Bool // the response has begun

	origin    *origin
	tokens    atomic.Pointer[tokens] // of the last attempt
	requestID []string               // set aside while there are informational responses

	mu    sync.Mutex
	over  bool
	ticks int64
	timer *time.Timer
}

// steps are those of one direction, one after the other.
type steps struct {
	count atomic.Int64
	limit atomic.Int64 // of the step under way, in nanoseconds; 0: none

	seen  int64 // count, as of the last tick
	still time.Duration
}

// begin begins a step.
func (s *steps) begin(limit time.Duration) {
	s.limit.Store(int64(limit))
	s.count.Add(1)
}

// overdue reports whether the step under way has taken longer than it may. It is
// called once a tick.
func (s *steps) overdue(tick time.Duration) bool {
	if count := s.count.Load(); count != s.seen {
		s.seen, s.still = count, 0
		return false
	}
	s.still += tick
	limit := time.Duration(s.limit.Load())
	return limit > 0 && s.still >= limit
}

type transferKey struct{}

// transferOf returns the transfer that a request belongs to.
func transferOf(ctx context.Context) *transfer {
	t, _ := ctx.Value(transferKey{}).(*transfer)
	return t
}

// begin makes the transfer of a request, and the request that goes with it. Call end.
func (g *Gateway) begin(w http.ResponseWriter, r *http.Request) (*transfer, *http.Request) {
	t := &transfer{
		ResponseWriter: w, control: http.NewResponseController(w), caller: r.Context(),
		user: authority.UserFrom(r.Context()), origin: g.originFor(r), flow: g.flow, patience: g.patience,
	}
	ctx, cancel := context.WithCancelCause(context.WithValue(r.Context(), transferKey{}, t))
	t.cancel = cancel
	// Where they cannot be set, there are none.
	_ = t.control.SetReadDeadline(time.Time{})
	_ = t.control.SetWriteDeadline(time.Time{})
	t.mu.Lock()
	t.timer = time.AfterFunc(t.tick(), t.look)
	t.mu.Unlock()
	return t, r.WithContext(ctx)
}

func (t *transfer) tick() time.Duration { return t.flow / ticksPerFlow }

// end ends the transfer. What is still to be written is written in time.
func (t *transfer) end() {
	t.mu.Lock()
	t.over = true
	t.timer.Stop()
	t.mu.Unlock()
	t.cancel(nil)
	_ = t.control.SetWriteDeadline(time.Now().Add(t.flow))
}

// stopReading ends the read of the request's body that is under way, if the upstream
// has responded without it. The server waits for that read before it sends the end of
// the response.
func (t *transfer) stopReading() {
	t.stopped.Store(true)
	if t.upload.limit.Load() > 0 {
		_ = t.control.SetReadDeadline(longAgo)
	}
}

// look ends what is overdue.
func (t *transfer) look() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over {
		return
	}
	tick := t.tick()
	t.ticks++
	taken, earned := time.Duration(t.ticks)*tick, time.Duration(t.arrived.Load()/uploadRate)*time.Second
	if t.upload.overdue(tick) || t.upload.limit.Load() > 0 && taken > graceFlows*t.flow+earned {
		_ = t.control.SetReadDeadline(longAgo) // the read under way fails
	}
	if t.download.overdue(tick) {
		if t.answered.Load() {
			_ = t.control.SetWriteDeadline(longAgo)
		}
		t.cancel(errStoodStill)
	}
	t.timer.Reset(tick)
}

// ask begins the wait for the upstream: to connect, to take the request, and to
// begin the response. The transport has bounds for most of it.
func (t *transfer) ask() {
	t.attempts.Add(1)
	limit := t.patience
	if limit > 0 {
		limit += t.flow
	}
	t.download.begin(limit)
}

// receive begins the wait for more of the response.
func (t *transfer) receive() { t.download.begin(max(t.patience, t.flow)) }

// begun reports whether some of the request's body has been read.
func (t *transfer) begun() bool { return t.arrived.Load() > 0 }

// Write implements io.Writer.
func (t *transfer) Write(p []byte) (int, error) {
	t.download.begin(t.flow)
	n, err := t.ResponseWriter.Write(p)
	t.receive()
	return n, err
}

// FlushError lets an http.ResponseController flush.
func (t *transfer) FlushError() error {
	t.download.begin(t.flow)
	err := t.control.Flush()
	t.receive()
	return err
}

// Unwrap lets an http.ResponseController find what the writer below can do.
func (t *transfer) Unwrap() http.ResponseWriter { return t.ResponseWriter }

// left reports whether the caller has left. Where the request's body broke off, the
// server may be about to find out.
func (t *transfer) left() bool {
	if broken := t.broken.Load(); broken != nil {
		if errors.Is(*broken, os.ErrDeadlineExceeded) {
			return false // which ends the caller's context as well
		}
		select {
		case <-t.caller.Done():
		case <-time.After(departure):
		}
	}
	return t.caller.Err() != nil
}
