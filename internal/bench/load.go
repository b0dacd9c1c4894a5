package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"
)

// The load generator writes requests that were built beforehand to kept-alive
// connections and reads no more of an answer than it must. A general HTTP client
// costs several times what the servers cost that are measured here, on the same
// cores, and would hide the difference between them.

// connections is how many connections a load is spread over.
const connections = 64

// load is what is sent to a server.
type load struct {
	address string
	// build writes the i-th request into buffer, which it may grow, and returns
	// it. i counts over all connections.
	build func(buffer []byte, i uint64) []byte
	// want is the status of a good answer; others count as refused, or as
	// failures if they are not in refusals.
	want     int
	refusals []int
	// limit, if it is not zero, is how many requests are sent at most.
	limit uint64
	// opened, if it is not nil, is called when every connection is open, before the first request.
	opened func()
}

// result is what came of a load.
type result struct {
	good      int
	refused   map[int]int // by status
	elapsed   time.Duration
	latencies []time.Duration // of good responses, ascending
}

func (r result) rate() float64 { return float64(r.good) / r.elapsed.Seconds() }

// p99 returns the latency that all but a hundredth of good responses stayed within.
func (r result) p99() time.Duration {
	if len(r.latencies) == 0 {
		return 0
	}
	return r.latencies[min(len(r.latencies)-1, len(r.latencies)*99/100)]
}

// tails returns the p99 of each load at a fixed rate, round by round.
func tails(ctx context.Context, loads []load, perSecond float64) ([][]time.Duration, error) {
	found := make([][]time.Duration, len(loads))
	for round := range rounds {
		progress(round, rounds)
		for _, i := range order(round, len(loads)) {
			r, err := loads[i].offer(ctx, connections, perSecond)
			if err != nil {
				return nil, err
			}
			found[i] = append(found[i], r.p99())
		}
	}
	return found, nil
}

// saturate sends as fast as the server responds, over every connection.
func (l load) saturate(ctx context.Context, lasting time.Duration, conns int) (result, error) {
	return l.run(ctx, lasting, conns, 0)
}

// offer sends at a fixed rate, whatever the server does (an open model), and
// counts latencies from when each request was due. A request that finds its
// connection still busy waits, and its waiting counts.
func (l load) offer(ctx context.Context, conns int, perSecond float64) (result, error) {
	return l.run(ctx, duration, conns, time.Duration(float64(conns)*float64(time.Second)/perSecond))
}

func (l load) run(ctx context.Context, duration time.Duration, conns int, every time.Duration) (result, error) {
	ctx, cancel := context.WithTimeout(ctx, duration+30*time.Second)
	defer cancel()
	var (
		mu     sync.Mutex
		total  result
		faults []error
		group  sync.WaitGroup
	)
	total.refused = map[int]int{}
	open := make([]net.Conn, conns)
	defer func() {
		for _, conn := range open {
			if conn != nil {
				_ = conn.Close() // nothing was promised to the other side
			}
		}
	}()
	for n := range open {
		var err error
		if open[n], err = (&net.Dialer{}).DialContext(ctx, "tcp", l.address); err != nil {
			return total, err
		}
	}
	if l.opened != nil {
		l.opened()
	}
	start := time.Now()
	for n := range conns {
		group.Go(func() {
			number, stride := uint64(n), uint64(conns) //nolint:gosec // small counts
			one := worker{load: l, number: number, stride: stride, every: every, start: start, end: start.Add(duration)}
			err := one.run(ctx, open[n])
			mu.Lock()
			defer mu.Unlock()
			total.good += len(one.latencies)
			for status, n := range one.refused {
				total.refused[status] += n
			}
			total.latencies = append(total.latencies, one.latencies...)
			if err != nil {
				faults = append(faults, err)
			}
		})
	}
	group.Wait()
	total.elapsed = time.Since(start)
	slices.Sort(total.latencies)
	if len(faults) > 0 {
		return total, fmt.Errorf("%s: %d of %d connections failed, first: %w", l.address, len(faults), conns, faults[0])
	}
	return total, nil
}

// worker is one connection.
type worker struct {
	load           load
	number, stride uint64
	every          time.Duration
	start, end     time.Time
	refused        map[int]int
	latencies      []time.Duration
	in             []byte
	got            int // of in, the last answer
}

// evaluated reports whether an answer with status 400 says that a login was evaluated and
// failed; any other means that the request is malformed.
func (w *worker) evaluated() bool {
	return bytes.Contains(w.in[:w.got], []byte("InvalidCredentials")) ||
		bytes.Contains(w.in[:w.got], []byte("AccountLocked"))
}

func (w *worker) run(ctx context.Context, conn net.Conn) error {
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return err
		}
	}
	w.in, w.refused = make([]byte, 8<<10), map[int]int{}
	var out []byte
	// The connections of an open model start evenly spread over the first turn.
	due := w.start.Add(time.Duration(float64(w.every) * float64(w.number) / float64(w.stride)))
	for i := w.number; ; i += w.stride {
		now := time.Now()
		if w.every == 0 {
			due = now
		} else if wait := due.Sub(now); wait > 0 {
			timer := time.NewTimer(wait)
			<-timer.C
		}
		if !due.Before(w.end) || w.load.limit > 0 && i >= w.load.limit {
			return nil
		}
		out = w.load.build(out[:0], i)
		if _, err := conn.Write(out); err != nil {
			return err
		}
		status, err := w.answer(conn)
		if err != nil {
			return err
		}
		switch {
		case status == w.load.want:
			w.latencies = append(w.latencies, time.Since(due))
		case status == http.StatusBadRequest && !w.evaluated():
			return fmt.Errorf("the server does not understand the request: %s", w.in[:w.got])
		case slices.Contains(w.load.refusals, status):
			w.refused[status]++
		default:
			return fmt.Errorf("answer %d instead of %d", status, w.load.want)
		}
		due = due.Add(w.every)
	}
}

var contentLength = []byte("\r\nContent-Length: ")

// answer reads one answer and returns its status.
func (w *worker) answer(conn net.Conn) (int, error) {
	got := 0
	for {
		n, err := conn.Read(w.in[got:])
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return 0, err
		}
		got += n
		head := bytes.Index(w.in[:got], []byte("\r\n\r\n"))
		if head < 0 {
			continue
		}
		length := 0
		if at := bytes.Index(w.in[:head], contentLength); at >= 0 {
			for _, c := range w.in[at+len(contentLength) : head] {
				if c < '0' || c > '9' {
					break
				}
				length = length*10 + int(c-'0')
			}
		}
		for got < head+4+length {
			n, err := conn.Read(w.in[got:])
			if err != nil {
				return 0, err
			}
			got += n
		}
		w.got = got
		return strconv.Atoi(string(w.in[len("HTTP/1.1 "):len("HTTP/1.1 200")]))
	}
}
