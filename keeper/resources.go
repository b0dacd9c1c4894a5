package keeper

import (
	"maps"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// A refused token is renewed for all callers. A resource that refuses valid tokens would
// therefore cost a login with every request, and make the requests of others fail. So
// the refusals of each resource are remembered for a while. A resource was wrong if it
// refuses a token that was renewed since its last refusal, or if another request
// succeeds with the token that it refused. After that the resource is not trusted for
// some time: its refusals are returned to their callers, and only a refusal by another
// resource renews the token. Then it is trusted again, because the token may have died
// in the meantime, unless other requests go on succeeding. Even then it is trusted once
// every five minutes, because not every resource of the API checks both tokens.

const (
	// firstQuarantine is how long a resource is not trusted after it was wrong once. The
	// time doubles up to maxQuarantine. An access token costs no login, so a refused one
	// is renewed after bearerRest unless other requests succeed.
	firstQuarantine = 15 * time.Second
	maxQuarantine   = time.Minute
	// maxResources bounds the resources that are remembered, and historyLife how long
	// after their last refusal.
	maxResources = 64
	historyLife  = 10 * time.Minute
	// sweepEvery is how often the expired ones are dropped, and proofEvery how far
	// apart successes are noted.
	sweepEvery = time.Minute
	proofEvery = 100 * time.Millisecond
)

// resource is what a request asks for, and the kind of token that was refused.
type resource struct {
	of                 tokenKind
	method, host, path string
}

func resourceOf(of tokenKind, req *http.Request) resource {
	return resource{of, req.Method, req.URL.Host, req.URL.Path}
}

// history is what is known of a resource that refused a token.
type history struct {
	refused   uint64    // the token that is marked as refused because of it; 0 if that was wrong
	trustedAt time.Time // when that was
	wrong     int       // how often it was wrong, in a row
	wrongAt   time.Time // when it was wrong last
	last      time.Time // the last refusal
}

// quarantine returns how long a resource is not trusted about a token.
func (h history) quarantine(of tokenKind) time.Duration {
	switch {
	case h.wrong == 0:
		return 0
	case of == accessToken:
		return bearerRest
	}
	return min(firstQuarantine<<min(h.wrong-1, 10), maxQuarantine)
}

// markWrong notes that the resource refused a valid token.
func (h *history) markWrong(now time.Time) {
	h.wrong++
	h.refused, h.wrongAt = 0, now
}

// within reports whether less than length has passed since begun. A beginning in the
// future is from a clock that has been put right.
func within(now, begun time.Time, length time.Duration) bool {
	age := now.Sub(begun)
	return age >= 0 && age < length
}

// tokenID identifies a token that was refused.
type tokenID struct {
	serial uint64
	newer  bool // it is certainly newer than the one before
}

// proof is a request that succeeded.
type proof struct {
	sent            time.Time
	session, bearer uint64 // its tokens
}

// of reports whether p shows that the token is valid which r refused.
func (p *proof) of(r resource, serial uint64) bool {
	return p != nil && (r.of == sessionToken && p.session == serial || r.of == accessToken && p.bearer == serial)
}

// resources are those whose refusals no success has followed.
type resources struct {
	now func() time.Time
	// known is nil if there are none, which is all that requests read then. A map that
	// is stored is not changed any more.
	known  atomic.Pointer[map[resource]history]
	proven atomic.Pointer[proof] // the last one while there were resources
	// bearers is how many bearers were marked as refused since a request succeeded.
	bearers atomic.Int64

	mu          sync.Mutex // guards what follows, and the replacement of known
	ambiguousAt time.Time  // when a response that cannot be read was last trusted and wrong
	sweptAt     time.Time
}

// trust decides whether the refusal of a token is trusted, so that the token is
// renewed. wrong is set if it was just found that the resource refuses valid tokens.
func (rs *resources) trust(r resource, t tokenID, ambiguous bool) (trusted, wrong bool) {
	now := rs.now()
	rs.mu.Lock()
	defer rs.mu.Unlock()
	h := rs.get(r)
	h.last = now
	proven := rs.proven.Load()
	switch {
	case h.refused != 0 && t.serial > h.refused && t.newer && within(now, h.trustedAt, shortLife):
		// The token was renewed because of this resource, which refuses it again.
		h.markWrong(now)
		wrong = true
		if ambiguous {
			rs.ambiguousAt = now
		}
	case within(now, h.wrongAt, h.quarantine(r.of)):
	case proven.of(r, t.serial) && within(now, proven.sent, h.quarantine(sessionToken)) &&
		within(now, h.wrongAt, shortLife):
	case ambiguous && within(now, rs.ambiguousAt, maxQuarantine):
		return false, false
	default:
		h.refused, h.trustedAt = t.serial, now
		if r.of == accessToken {
			rs.bearers.Add(1)
		}
		trusted = true
	}
	rs.put(r, h, now)
	return trusted, wrong
}

// valid notes that a request succeeded with a token that was marked as refused. It
// returns the resources that were wrong.
func (rs *resources) valid(of tokenKind) (wrong []resource) {
	now := rs.now()
	rs.mu.Lock()
	defer rs.mu.Unlock()
	known := rs.copy()
	for r, h := range known {
		if r.of == of && h.refused != 0 {
			h.markWrong(now)
			known[r] = h
			wrong = append(wrong, r)
		}
	}
	rs.store(known)
	return wrong
}

// sent returns the time if the success of a request that is about to be sent has to be
// noted, and zero otherwise.
func (rs *resources) sent() (at time.Time) {
	if rs.known.Load() != nil {
		at = rs.now()
	}
	return at
}

// succeeded notes a request that succeeded.
func (rs *resources) succeeded(req *http.Request, p proof) {
	known := rs.known.Load()
	if known == nil {
		return
	}
	last := rs.proven.Load()
	if last == nil || last.session != p.session || last.bearer != p.bearer || !within(p.sent, last.sent, proofEvery) {
		rs.proven.Store(&p)
		rs.bearers.Store(0)
		rs.sweep(p.sent)
	}
	for _, of := range []tokenKind{sessionToken, accessToken} {
		r := resourceOf(of, req)
		if _, ok := (*known)[r]; ok {
			rs.forget(r)
		}
	}
}

func (rs *resources) forget(r resource) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	known := rs.copy()
	delete(known, r)
	rs.store(known)
}

// sweep drops what has expired.
func (rs *resources) sweep(now time.Time) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if within(now, rs.sweptAt, sweepEvery) {
		return
	}
	rs.sweptAt = now
	known := rs.copy()
	maps.DeleteFunc(known, func(_ resource, h history) bool { return !within(now, h.last, historyLife) })
	rs.store(known)
}

func (rs *resources) get(r resource) history {
	if known := rs.known.Load(); known != nil {
		return (*known)[r]
	}
	return history{}
}

// put replaces the history of r. The resource that refused longest ago makes room.
func (rs *resources) put(r resource, h history, now time.Time) {
	known := rs.copy()
	if _, ok := known[r]; !ok && len(known) >= maxResources {
		oldest, last := r, now
		for other, h := range known {
			if h.last.Before(last) {
				oldest, last = other, h.last
			}
		}
		delete(known, oldest)
	}
	known[r] = h
	rs.store(known)
}

func (rs *resources) copy() map[resource]history {
	if known := rs.known.Load(); known != nil {
		return maps.Clone(*known)
	}
	return map[resource]history{}
}

func (rs *resources) store(known map[resource]history) {
	if len(known) == 0 {
		rs.known.Store(nil)
		return
	}
	rs.known.Store(&known)
}
