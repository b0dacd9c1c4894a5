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
	"github.com/latchkey/latchkey/internal/wire"
)

const (
	// stallTimeout is how long a body may make no progress in either direction.
	stallTimeout = time.Minute
	// ticksPerStall is how often progress is checked within stallTimeout.
	ticksPerStall = 12
	// A request's body has graceStalls times stallTimeout to arrive, and one second more
	// for each uploadRate bytes that have arrived.
	graceStalls = 10
	uploadRate  = 1 << 10
	// disconnectDelay is how soon after a failed read the server notices that the caller
	// has disconnected.
	disconnectDelay = 100 * time.Millisecond
)

var (
	// errStalled is the reason why a transfer is cut off.
	errStalled = errors.New("the upstream neither accepted the request nor sent a response in time")
	// past is a deadline that has passed.
	past = time.Unix(1, 0)
)

// transfer is a request and its response in the gateway. It replaces the server's
// deadlines, which are for short requests: a transfer may take any time while it makes
// progress. Over HTTP/2 a deadline that has passed resets the stream even if nothing was
// waiting then. So a transfer has no deadlines, but checks periodically whether a step is
// overdue, and ends it.
type transfer struct {
	http.ResponseWriter // to the caller

	control         *http.ResponseController
	caller          context.Context // ends if the caller disconnects
	cancel          context.CancelCauseFunc
	user            string
	stallTimeout    time.Duration
	responseTimeout time.Duration // how long the upstream may take to begin a response; 0: no limit

	upload    progress              // reading the request's body from the caller
	download  progress              // waiting for the upstream, and writing to the caller
	received  atomic.Int64          // bytes of the request's body
	bodyErr   atomic.Pointer[error] // why the request's body could not be read
	stopped   atomic.Bool           // the rest of the body is not needed
	attempts  atomic.Int32
	responded atomic.Bool // the response has begun

	origin    *origin
	tokens    atomic.Pointer[tokens] // of the last attempt
	requestID []string               // kept here while there are informational responses

	mu    sync.Mutex
	over  bool
	ticks int64
	timer *time.Timer
}

type transferKey struct{}

// transferOf returns the transfer of a request's context.
func transferOf(ctx context.Context) *transfer {
	t, _ := ctx.Value(transferKey{}).(*transfer)
	return t
}

// begin returns the transfer of a request, and the request with the transfer in its
// context. The caller calls end.
func (g *Gateway) begin(w http.ResponseWriter, r *http.Request) (*transfer, *http.Request) {
	t := &transfer{
		ResponseWriter: w, control: http.NewResponseController(w), caller: r.Context(),
		user: authority.UserFrom(r.Context()), origin: g.originFor(r),
		stallTimeout: g.stallTimeout, responseTimeout: g.responseTimeout,
	}
	ctx, cancel := context.WithCancelCause(context.WithValue(r.Context(), transferKey{}, t))
	t.cancel = cancel
	// A writer that supports no deadlines has none to remove.
	_ = t.control.SetReadDeadline(time.Time{})
	_ = t.control.SetWriteDeadline(time.Time{})
	t.mu.Lock()
	t.timer = time.AfterFunc(t.tick(), t.check)
	t.mu.Unlock()
	return t, r.WithContext(ctx)
}

func (t *transfer) tick() time.Duration { return t.stallTimeout / ticksPerStall }

// end ends the transfer. The rest of the response must be written within stallTimeout.
func (t *transfer) end() {
	t.mu.Lock()
	t.over = true
	t.timer.Stop()
	t.mu.Unlock()
	t.cancel(nil)
	_ = t.control.SetWriteDeadline(time.Now().Add(t.stallTimeout))
}

// stopReading ends the current read of the request's body, if the upstream has responded
// without it. The server waits for that read before it sends the end of the response.
func (t *transfer) stopReading() {
	t.stopped.Store(true)
	if t.upload.limit.Load() > 0 {
		_ = t.control.SetReadDeadline(past)
	}
}

// check ends the steps that are overdue.
func (t *transfer) check() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over {
		return
	}
	tick := t.tick()
	t.ticks++
	taken, earned := time.Duration(t.ticks)*tick, time.Duration(t.received.Load()/uploadRate)*time.Second
	if t.upload.overdue(tick) || t.upload.limit.Load() > 0 && taken > graceStalls*t.stallTimeout+earned {
		_ = t.control.SetReadDeadline(past) // the current read fails
	}
	if t.download.overdue(tick) {
		if t.responded.Load() {
			_ = t.control.SetWriteDeadline(past)
		}
		t.cancel(errStalled)
	}
	t.timer.Reset(tick)
}

// beginAttempt begins the wait for the upstream to connect, to accept the request and to
// begin the response. The transport bounds most of it.
func (t *transfer) beginAttempt() {
	t.attempts.Add(1)
	limit := t.responseTimeout
	if limit > 0 {
		limit += t.stallTimeout
	}
	t.download.begin(limit)
}

// receive begins the wait for more of the response.
func (t *transfer) receive() { t.download.begin(max(t.responseTimeout, t.stallTimeout)) }

// begun reports whether part of the request's body has been read.
func (t *transfer) begun() bool { return t.received.Load() > 0 }

// WriteHeader implements http.ResponseWriter. The headers of an informational response
// come from the upstream without any other check. httputil clears them afterwards, and
// with them the request ID, which is restored here.
func (t *transfer) WriteHeader(status int) {
	header := t.Header()
	switch ids := header[wire.HeaderRequestID]; {
	case status < http.StatusOK:
		if t.requestID == nil {
			t.requestID = ids[:min(len(ids), 1)]
		}
		dropNominated(header)
		t.clean(header)
	case ids == nil && t.requestID != nil:
		header[wire.HeaderRequestID] = t.requestID
	case len(ids) > 1: // the second is the upstream's
		header[wire.HeaderRequestID] = ids[1:2]
	}
	if status >= http.StatusOK {
		t.responded.Store(true)
		t.receive()
	}
	t.ResponseWriter.WriteHeader(status)
}

// Write implements io.Writer.
func (t *transfer) Write(p []byte) (int, error) {
	t.download.begin(t.stallTimeout)
	n, err := t.ResponseWriter.Write(p)
	t.receive()
	return n, err
}

// FlushError lets an http.ResponseController flush.
func (t *transfer) FlushError() error {
	t.download.begin(t.stallTimeout)
	err := t.control.Flush()
	t.receive()
	return err
}

// Unwrap gives an http.ResponseController access to the underlying writer.
func (t *transfer) Unwrap() http.ResponseWriter { return t.ResponseWriter }

// callerGone reports whether the caller has disconnected. If the request's body is
// incomplete, it gives the server time to notice.
func (t *transfer) callerGone() bool {
	if bodyErr := t.bodyErr.Load(); bodyErr != nil {
		if errors.Is(*bodyErr, os.ErrDeadlineExceeded) {
			return false // the deadline ends the caller's context as well
		}
		select {
		case <-t.caller.Done():
		case <-time.After(disconnectDelay):
		}
	}
	return t.caller.Err() != nil
}
