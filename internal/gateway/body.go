package gateway

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"time"
)

const (
	// bufferTime is how long a whole body may take to arrive. One that takes longer is
	// streamed.
	bufferTime = 10 * time.Second
	// firstBuffer is the first size of a buffer, which doubles as it fills.
	firstBuffer = 4 << 10
)

var errResponded = errors.New("the upstream has responded, so the rest of the body is not read")

// buffer holds the beginning of a body, or all of it.
type buffer struct {
	budget *budget
	user   string
	bytes  []byte
	taken  atomic.Int64 // of the budget
}

// grow enlarges the buffer, up to limit bytes. It reports whether the budget permits it.
func (b *buffer) grow(limit int64) bool {
	size := min(max(2*int64(cap(b.bytes)), firstBuffer), limit)
	more := size - int64(cap(b.bytes))
	if !b.budget.take(b.user, more) {
		return false
	}
	b.taken.Add(more)
	b.bytes = append(make([]byte, 0, size), b.bytes...)
	return true
}

// release returns the buffer's bytes to the budget. They must not be used afterwards.
func (b *buffer) release() {
	if taken := b.taken.Swap(0); taken > 0 {
		b.budget.give(b.user, taken)
	}
}

// bufferBody reads the body of r into memory, if it is short and arrives soon, so that
// the request can be repeated. Otherwise the new body of r is what was read followed by
// the rest. The caller calls release at the end of the request.
func (g *Gateway) bufferBody(t *transfer, r *http.Request) (release func(), err error) {
	stream := &streamedBody{body: r.Body, transfer: t, request: r}
	b := &buffer{budget: &g.buffered, user: t.user}
	r.Body = stream
	if r.ContentLength > g.keepBody {
		return b.release, nil
	}
	complete, err := g.fill(b, stream, r.ContentLength)
	switch {
	case err != nil:
		b.release()
		return nil, err
	case complete:
		r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.bytes)), nil }
		r.Body, _ = r.GetBody() // it never fails
	case len(b.bytes) > 0:
		r.Body = &partlyBufferedBody{streamedBody: stream, buffer: b, rest: b.bytes}
	}
	return b.release, nil
}

// fill reads a body of the given length, negative if it is unknown. It reports whether
// it read all of the body.
func (g *Gateway) fill(b *buffer, stream *streamedBody, length int64) (complete bool, err error) {
	limit := g.keepBody + 1 // the additional byte shows that a body is too long
	if length >= 0 {
		limit = length
	}
	for began := time.Now(); ; {
		var one [1]byte
		room := one[:] // for the end of a body of known length
		if int64(len(b.bytes)) < limit {
			if len(b.bytes) == cap(b.bytes) && !b.grow(limit) {
				return false, nil
			}
			room = b.bytes[len(b.bytes):cap(b.bytes)]
		}
		n, err := stream.Read(room)
		if int64(len(b.bytes)+n) <= limit {
			b.bytes = b.bytes[:len(b.bytes)+n]
		}
		switch {
		case errors.Is(err, io.EOF):
			return true, nil
		case err != nil:
			return false, err
		case int64(len(b.bytes)) > g.keepBody, time.Since(began) > g.bufferTime:
			return false, nil
		}
	}
}

// partlyBufferedBody is a body whose beginning is in a buffer until it has been read.
type partlyBufferedBody struct {
	*streamedBody

	buffer *buffer
	rest   []byte
}

// Read implements io.Reader.
func (b *partlyBufferedBody) Read(p []byte) (int, error) {
	if len(b.rest) == 0 {
		return b.streamedBody.Read(p)
	}
	n := copy(p, b.rest)
	if b.rest = b.rest[n:]; len(b.rest) == 0 {
		b.rest, b.buffer.bytes = nil, nil
		b.buffer.release()
	}
	return n, nil
}

// streamedBody is the body of the caller's request.
type streamedBody struct {
	body     io.ReadCloser
	transfer *transfer
	request  *http.Request // for its trailers
}

// Read implements io.Reader.
func (s *streamedBody) Read(p []byte) (int, error) {
	t := s.transfer
	t.upload.begin(t.stallTimeout)
	defer t.upload.begin(0)
	if t.stopped.Load() {
		return 0, errResponded
	}
	n, err := s.body.Read(p)
	t.received.Add(int64(n))
	t.download.count.Add(1)
	switch {
	case err == nil:
	case errors.Is(err, io.EOF):
		filterTrailers(s.request.Trailer) // the trailers are complete at the end of the body
	default:
		t.bodyErr.CompareAndSwap(nil, &err)
	}
	return n, err
}

// Close implements io.Closer.
func (s *streamedBody) Close() error { return s.body.Close() }
