package gateway

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxHeld bounds the bytes of bodies that are held at once, and maxHeldByUser
	// those of one user. What is beyond is passed on as it comes.
	maxHeld       = 64 << 20
	maxHeldByUser = maxHeld / 4
	// holdTime is how long a body may take to arrive as a whole. One that takes
	// longer is passed on as it comes.
	holdTime = 10 * time.Second
	// firstBuffer is the room for what arrives first. It doubles.
	firstBuffer = 4 << 10
)

var errStopped = errors.New("the upstream has responded, and the rest of the body is not read")

// budget counts the bytes of the bodies that are held.
type budget struct {
	mu    sync.Mutex
	held  int64
	users map[string]int64 // of users who have any
}

// take reports whether user may hold n bytes more.
func (b *budget) take(user string, n int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.held+n > maxHeld || b.users[user]+n > maxHeldByUser {
		return false
	}
	b.held += n
	b.users[user] += n
	return true
}

// give returns n bytes of user.
func (b *budget) give(user string, n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.held -= n
	if b.users[user] -= n; b.users[user] == 0 {
		delete(b.users, user)
	}
}

// held is the beginning of a body, or all of it, in memory.
type held struct {
	budget *budget
	user   string
	bytes  []byte
	taken  atomic.Int64 // of the budget
}

// grow makes room for more than there is, for limit bytes at most. It reports
// whether the budget has it.
func (h *held) grow(limit int64) bool {
	size := min(max(2*int64(cap(h.bytes)), firstBuffer), limit)
	more := size - int64(cap(h.bytes))
	if !h.budget.take(h.user, more) {
		return false
	}
	h.taken.Add(more)
	h.bytes = append(make([]byte, 0, size), h.bytes...)
	return true
}

// release returns what was taken. The bytes must not be used any more.
func (h *held) release() {
	if taken := h.taken.Swap(0); taken > 0 {
		h.budget.give(h.user, taken)
	}
}

// hold reads the body of r into memory, if it is short and comes soon, so that it
// can be sent again. Otherwise the body becomes what was read, and then what comes.
// Call release when the request is over.
func (g *Gateway) hold(t *transfer, r *http.Request) (release func(), err error) {
	stream := &streamed{body: r.Body, transfer: t, request: r}
	h := &held{budget: &g.held, user: t.user}
	r.Body = stream
	if r.ContentLength > g.keepBody {
		return h.release, nil
	}
	whole, err := g.fill(h, stream, r.ContentLength)
	switch {
	case err != nil:
		h.release()
		return nil, err
	case whole:
		r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(h.bytes)), nil }
		r.Body, _ = r.GetBody() // it never fails
	case len(h.bytes) > 0:
		r.Body = &joined{streamed: stream, head: h, rest: h.bytes}
	}
	return h.release, nil
}

// fill reads a body of the given length, or of an unknown one if it is negative. It
// reports whether that was all of it.
func (g *Gateway) fill(h *held, stream *streamed, length int64) (whole bool, err error) {
	limit := g.keepBody + 1 // one more tells that it is too long
	if length >= 0 {
		limit = length
	}
	for began := time.Now(); ; {
		var one [1]byte
		room := one[:] // for the end of a body whose length was known
		if int64(len(h.bytes)) < limit {
			if len(h.bytes) == cap(h.bytes) && !h.grow(limit) {
				return false, nil
			}
			room = h.bytes[len(h.bytes):cap(h.bytes)]
		}
		n, err := stream.Read(room)
		if int64(len(h.bytes)+n) <= limit {
			h.bytes = h.bytes[:len(h.bytes)+n]
		}
		switch {
		case errors.Is(err, io.EOF):
			return true, nil
		case err != nil:
			return false, err
		case int64(len(h.bytes)) > g.keepBody, time.Since(began) > g.holdTime:
			return false, nil
		}
	}
}

// joined is a body of which the beginning is in memory, until it has been read.
type joined struct {
	*streamed

	head *held
	rest []byte
}

// Read implements io.Reader.
func (j *joined) Read(p []byte) (int, error) {
	if len(j.rest) == 0 {
		return j.streamed.Read(p)
	}
	n := copy(p, j.rest)
	if j.rest = j.rest[n:]; len(j.rest) == 0 {
		j.rest, j.head.bytes = nil, nil
		j.head.release()
	}
	return n, nil
}

// streamed is a body as it comes.
type streamed struct {
	body     io.ReadCloser
	transfer *transfer
	request  *http.Request // for its trailers
}

// Read implements io.Reader.
func (s *streamed) Read(p []byte) (int, error) {
	t := s.transfer
	t.upload.begin(t.flow)
	defer t.upload.begin(0)
	if t.stopped.Load() {
		return 0, errStopped
	}
	n, err := s.body.Read(p)
	t.arrived.Add(int64(n))
	t.download.count.Add(1)
	switch {
	case err == nil:
	case errors.Is(err, io.EOF):
		s.scrub()
	default:
		t.broken.CompareAndSwap(nil, &err)
	}
	return n, err
}

// scrub takes from the trailers, which are there when the body was read to its
// end, what may not stand in a header either.
func (s *streamed) scrub() { stopTrailers(s.request.Trailer) }

// Close implements io.Closer.
func (s *streamed) Close() error { return s.body.Close() }
