package keeper

import (
	"maps"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// A refusal condemns a token for everybody, so a resource that refuses good tokens
// would cost a login with every request and make the requests of others fail. What
// resources say is therefore remembered while it matters. A resource that refuses a
// token which was renewed since its last refusal was wrong, and so was one that
// condemned a token with which another request succeeds afterwards. Such a resource
// is not believed for a while: its refusals are returned to their callers, and only
// the refusal of another resource renews the token. Afterwards it is believed again,
// since the token may have died in the meantime, unless other requests go on
// succeeding. Even then it is believed every five minutes, because not every
// resource of the API looks at both tokens.

const (
	// firstQuarantine is how long a resource is not believed after it was wrong
	// once. The time doubles up to maxQuarantine. Access tokens cost no login, so
	// that a refused one is renewed after bearerRest unless other requests succeed.
	firstQuarantine = 15 * time.Second
	maxQuarantine   = time.Minute
	// maxComplaints bounds the resources that are remembered, and complaintLife for
	// how long after their last refusal.
	maxComplaints = 64
	complaintLife = 10 * time.Minute
	// tidyEvery is how often the expired ones are dropped, and proofEvery how far
	// apart successes are noted.
	tidyEvery  = time.Minute
	proofEvery = 100 * time.Millisecond
)

// resource is what a request asks for, and the token that was refused.
type resource struct {
	of                 target
	method, host, path string
}

func resourceOf(of target, req *http.Request) resource {
	return resource{of, req.Method, req.URL.Host, req.URL.Path}
}

// complaint is what is known of a resource that refused a token.
type complaint struct {
	condemned uint64    // the token that was condemned for it; 0 if that was wrong
	believed  time.Time // when that was
	wrong     int       // how often it was wrong, in a row
	exposed   time.Time // when it was wrong last
	last      time.Time // the last refusal
}

// quarantine is how long a resource is not believed about a token.
func (c complaint) quarantine(of target) time.Duration {
	switch {
	case c.wrong == 0:
		return 0
	case of == ofBearer:
		return bearerRest
	}
	return min(firstQuarantine<<min(c.wrong-1, 10), maxQuarantine)
}

// within reports whether a time that was begun at another one lasts. A beginning
// that lies in the future is from a clock that has been put right.
func within(now, begun time.Time, length time.Duration) bool {
	age := now.Sub(begun)
	return age >= 0 && age < length
}

// token is one that was refused.
type token struct {
	serial  uint64
	renewed bool // it is certainly newer than the one before
}

// proof is a request that succeeded.
type proof struct {
	sent            time.Time
	session, bearer uint64 // its tokens
}

// of reports whether p shows that the token is good which r refused.
func (p *proof) of(r resource, serial uint64) bool {
	return p != nil && (r.of == ofSession && p.session == serial || r.of == ofBearer && p.bearer == serial)
}

// complaints are the refusals that were not followed by a success.
type complaints struct {
	now func() time.Time
	// known is nil if there are none, which is all that requests look at then. A
	// map that is stored is not changed any more.
	known  atomic.Pointer[map[resource]complaint]
	proven atomic.Pointer[proof] // the last one while there were complaints
	// bearers is how many bearers were condemned since a request succeeded.
	bearers atomic.Int64

	mu      sync.Mutex // guards what follows, and the replacement of known
	doubted time.Time  // when a response that cannot be read was last believed and wrong
	tidied  time.Time
}

// believe decides whether a resource that refused a token is believed, so that the
// token is condemned. exposed is set if the resource was just found to be wrong.
func (c *complaints) believe(r resource, t token, doubtful bool) (believed, exposed bool) {
	now := c.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	entry := c.get(r)
	entry.last = now
	proven := c.proven.Load()
	switch {
	case entry.condemned != 0 && t.serial > entry.condemned && t.renewed && within(now, entry.believed, shortLife):
		// The token was renewed because of this resource, which refuses it again.
		entry.expose(now)
		exposed = true
		if doubtful {
			c.doubted = now
		}
	case within(now, entry.exposed, entry.quarantine(r.of)):
	case proven.of(r, t.serial) && within(now, proven.sent, entry.quarantine(ofSession)) && within(now, entry.exposed, shortLife):
	case doubtful && within(now, c.doubted, maxQuarantine):
		return false, false
	default:
		entry.condemned, entry.believed = t.serial, now
		if r.of == ofBearer {
			c.bearers.Add(1)
		}
		believed = true
	}
	c.put(r, entry, now)
	return believed, exposed
}

// expose notes that it was wrong to condemn a token for this resource.
func (c *complaint) expose(now time.Time) {
	c.wrong++
	c.condemned, c.exposed = 0, now
}

// acquit notes that a request succeeded which was sent with a condemned token. It
// returns the resources that were wrong.
func (c *complaints) acquit(of target) (exposed []resource) {
	now := c.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	known := c.copy()
	for r, entry := range known {
		if r.of == of && entry.condemned != 0 {
			entry.expose(now)
			known[r] = entry
			exposed = append(exposed, r)
		}
	}
	c.store(known)
	return exposed
}

// sent returns the time if a request that is about to be sent has to be watched,
// which it has while there are complaints.
func (c *complaints) sent() (at time.Time) {
	if c.known.Load() != nil {
		at = c.now()
	}
	return at
}

// succeeded notes a request that succeeded.
func (c *complaints) succeeded(req *http.Request, p proof) {
	known := c.known.Load()
	if known == nil {
		return
	}
	last := c.proven.Load()
	if last == nil || last.session != p.session || last.bearer != p.bearer || !within(p.sent, last.sent, proofEvery) {
		c.proven.Store(&p)
		c.bearers.Store(0)
		c.tidy(p.sent)
	}
	for _, of := range []target{ofSession, ofBearer} {
		r := resourceOf(of, req)
		if _, ok := (*known)[r]; ok {
			c.forget(r)
		}
	}
}

func (c *complaints) forget(r resource) {
	c.mu.Lock()
	defer c.mu.Unlock()
	known := c.copy()
	delete(known, r)
	c.store(known)
}

// tidy drops what has expired.
func (c *complaints) tidy(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if within(now, c.tidied, tidyEvery) {
		return
	}
	c.tidied = now
	known := c.copy()
	maps.DeleteFunc(known, func(_ resource, entry complaint) bool { return !within(now, entry.last, complaintLife) })
	c.store(known)
}

func (c *complaints) get(r resource) complaint {
	if known := c.known.Load(); known != nil {
		return (*known)[r]
	}
	return complaint{}
}

// put replaces what is known of r. The resource that refused longest ago makes
// room.
func (c *complaints) put(r resource, entry complaint, now time.Time) {
	known := c.copy()
	if _, ok := known[r]; !ok && len(known) >= maxComplaints {
		oldest, last := r, now
		for other, entry := range known {
			if entry.last.Before(last) {
				oldest, last = other, entry.last
			}
		}
		delete(known, oldest)
	}
	known[r] = entry
	c.store(known)
}

func (c *complaints) copy() map[resource]complaint {
	if known := c.known.Load(); known != nil {
		return maps.Clone(*known)
	}
	return map[resource]complaint{}
}

func (c *complaints) store(known map[resource]complaint) {
	if len(known) == 0 {
		c.known.Store(nil)
		return
	}
	c.known.Store(&known)
}
