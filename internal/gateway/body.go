package gateway

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"time"
)

// budget bounds the bytes that are kept at once.
type budget struct{ left atomic.Int64 }

func (b *budget) take(n int64) bool {
	if b.left.Add(-n) >= 0 {
		return true
	}
	b.left.Add(n)
	return false
}

// kept is a request's body as it goes on.
type kept struct {
	reader io.ReadCloser
	again  func() (io.ReadCloser, error) // nil: it can be read once
}

// keep reads the body of r, if it is short enough, so that it can be sent again.
// Call release when the request is over.
func (g *Gateway) keep(out *flowing, r *http.Request) (body kept, release func(), err error) {
	release = func() {}
	stream := &streamed{body: r.Body, clock: &out.clock, request: r}
	room := g.keepBody
	if r.ContentLength > 0 {
		room = r.ContentLength
	}
	if room > g.keepBody || !g.kept.take(room) {
		return kept{reader: stream}, release, nil
	}
	release = func() { g.kept.left.Add(room) }
	var head bytes.Buffer
	n, err := head.ReadFrom(io.LimitReader(stream, room))
	if err != nil {
		release()
		return kept{}, nil, err
	}
	if r.ContentLength < 0 && n == room { // there may be more
		return kept{reader: joined{io.MultiReader(&head, stream), stream}}, release, nil
	}
	stream.scrub()
	again := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(head.Bytes())), nil }
	first, _ := again() // it never fails
	return kept{reader: first, again: again}, release, nil
}

type joined struct {
	io.Reader
	io.Closer
}

// streamed is a body as it comes in. It may take as long as it flows.
type streamed struct {
	body    io.ReadCloser
	clock   *deadlines
	request *http.Request
}

// Read implements io.Reader.
func (s *streamed) Read(p []byte) (int, error) {
	s.clock.read()
	n, err := s.body.Read(p)
	if errors.Is(err, io.EOF) {
		s.scrub()
	}
	return n, err
}

// scrub takes from the trailers, which are there when the body was read to its
// end, what may not stand in a header either.
func (s *streamed) scrub() { stop(s.request.Trailer) }

// Close implements io.Closer.
func (s *streamed) Close() error { return s.body.Close() }

const (
	// flowTimeout is how long a body may stand still in either direction.
	flowTimeout = time.Minute
	// flowStep is how far apart deadlines are set, since each costs.
	flowStep = 5 * time.Second
)

// deadlines move with the flow: the server's own are those of a short request.
type deadlines struct {
	to              *http.ResponseController
	readAt, writeAt time.Time
}

func (d *deadlines) read()  { move(&d.readAt, d.to.SetReadDeadline) }
func (d *deadlines) write() { move(&d.writeAt, d.to.SetWriteDeadline) }

func move(last *time.Time, set func(time.Time) error) {
	if now := time.Now(); now.Sub(*last) > flowStep {
		*last = now
		_ = set(now.Add(flowTimeout)) // where it cannot be set, there is none
	}
}

// flowing is an answer as it goes out.
type flowing struct {
	http.ResponseWriter

	clock     deadlines
	origin    *origin
	requestID []string // set aside while there are informational responses
}

// Write implements io.Writer.
func (f *flowing) Write(p []byte) (int, error) {
	f.clock.write()
	return f.ResponseWriter.Write(p)
}

// Unwrap lets an http.ResponseController find what the writer below can do.
func (f *flowing) Unwrap() http.ResponseWriter { return f.ResponseWriter }
