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
	// maxAge is how long a connection is used for new requests. The address of a service
	// may change, and only a new connection uses the new address.
	maxAge = 5 * time.Minute
	// closeBefore is how much earlier than the server the client closes an idle
	// connection, so that it does not send a request while the server closes it.
	closeBefore = time.Second
	// leastIdle is the minimum time that an idle connection is kept, whatever the server
	// announces.
	leastIdle = 500 * time.Millisecond
)

// Transport is an *http.Transport that renews its connections. Renew returns one.
type Transport struct {
	template *http.Transport
	current  atomic.Pointer[generation]
	mu       sync.Mutex // held while current is replaced
}

// generation is a transport and the connections that it has opened.
type generation struct {
	*http.Transport

	born time.Time
}

// Renew returns a Transport that sends requests as t does and renews its connections. A
// connection is not used for new requests once five minutes have passed since its
// generation began, so that steady traffic follows a service to a new address. If a server
// announces how long it keeps an idle connection (Keep-Alive: timeout=5), the client closes
// it a second earlier: a request that arrives while the server closes the connection is
// lost, and cannot be sent again unless it is idempotent. Requests in flight are not
// interrupted. t must not be used or changed afterwards.
func Renew(t *http.Transport) *Transport {
	r := &Transport{template: t}
	r.current.Store(&generation{t, time.Now()})
	return r
}

// Native returns t as an *http.Transport, or the one that was passed to Renew to make t.
// That one may only be read and cloned.
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

// replace makes new requests use new connections instead of those of g, which are closed
// when they become idle.
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

// CloseIdleConnections closes the connections that are not in use.
func (t *Transport) CloseIdleConnections() { t.current.Load().CloseIdleConnections() }

// idleTime returns the shortest time that the Keep-Alive headers announce.
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
			announced := max(time.Duration(seconds)*time.Second-closeBefore, leastIdle)
			if !ok || announced < idle {
				idle, ok = announced, true
			}
		}
	}
	return idle, ok
}
