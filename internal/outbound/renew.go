package outbound

import (
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxAge is how long a connection takes new requests. The address of a service may
	// change, and only a new connection finds out.
	maxAge = 5 * time.Minute
	// closeBefore is how long before its server does an idle connection is closed here,
	// so that no request is sent to a server that is just closing it.
	closeBefore = time.Second
	// leastIdle is how long an idle connection is kept at least, whatever its server says.
	leastIdle = 500 * time.Millisecond
)

// Transport is an *http.Transport that renews its connections. Make it with Renew.
type Transport struct {
	template *http.Transport
	current  atomic.Pointer[generation]
	mu       sync.Mutex // held while current is replaced
}

// generation is a transport, and the connections that it has opened.
type generation struct {
	*http.Transport

	born time.Time
}

// Renew returns a RoundTripper that sends requests as t does, and renews its
// connections: none takes a new request more than five minutes after t opened its first,
// so that a service is found at a new address however steady the traffic is. And where a
// server says how long it keeps an idle connection (Keep-Alive: timeout=5), it is closed
// here a second earlier. A request that meets a server just as it closes the connection
// is lost, and cannot be sent again unless it changes nothing. Requests under way are not
// disturbed. t must not be used otherwise, or changed.
func Renew(t *http.Transport) *Transport {
	r := &Transport{template: t}
	r.current.Store(&generation{t, time.Now()})
	return r
}

// Native returns the *http.Transport that t is or was made of. One that is part of a
// Transport may be read and cloned only.
func Native(t http.RoundTripper) (native *http.Transport, ok bool) {
	if renewed, ok := t.(*Transport); ok {
		return renewed.template, true
	}
	native, ok = t.(*http.Transport)
	return native, ok
}

// RoundTrip implements http.RoundTripper.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	g := t.current.Load()
	if time.Since(g.born) >= maxAge {
		g = t.replace(g, t.template.IdleConnTimeout)
	}
	resp, err := g.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if hint := resp.Header["Keep-Alive"]; hint != nil && resp.ProtoMajor == 1 {
		if idle, ok := idleTime(hint); ok && (g.IdleConnTimeout == 0 || idle < g.IdleConnTimeout) {
			t.replace(g, idle)
		}
	}
	return resp, nil
}

// replace makes requests use other connections than those of g, which are closed as
// soon as they are idle.
func (t *Transport) replace(g *generation, idle time.Duration) *generation {
	t.mu.Lock()
	defer t.mu.Unlock()
	if current := t.current.Load(); current != g {
		return current
	}
	next := &generation{t.template.Clone(), time.Now()}
	next.IdleConnTimeout = idle
	t.current.Store(next)
	g.CloseIdleConnections()
	return next
}

// CloseIdleConnections closes the connections that no request uses.
func (t *Transport) CloseIdleConnections() { t.current.Load().CloseIdleConnections() }

// idleTime returns how long a connection may be idle according to Keep-Alive headers.
func idleTime(hints []string) (idle time.Duration, ok bool) {
	for _, hint := range hints {
		for parameter := range strings.SplitSeq(hint, ",") {
			name, value, _ := strings.Cut(parameter, "=")
			if !strings.EqualFold(strings.TrimSpace(name), "timeout") {
				continue
			}
			seconds, err := strconv.ParseUint(strings.Trim(value, " \t\""), 10, 16)
			if err != nil {
				continue
			}
			told := max(time.Duration(seconds)*time.Second-closeBefore, leastIdle)
			if !ok || told < idle {
				idle, ok = told, true
			}
		}
	}
	return idle, ok
}
