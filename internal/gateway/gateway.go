// Package gateway carries the requests of local users to an upstream, in the one
// session that a keeper holds there. It is an http.Handler behind the local check
// of both tokens: who may ask is settled when a request comes here, and the local
// tokens go no further.
//
// path.go says which requests are carried at all, headers.go and location.go which
// headers and what becomes of them, body.go how bodies are held for the one time that
// a request is sent again, transfer.go how long everything may take, observed.go how
// far a request came, and failure.go what callers are told if there is no response.
package gateway

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"time"

	"github.com/latchkey/latchkey/internal/outbound"
	"github.com/latchkey/latchkey/internal/wire"
	"github.com/latchkey/latchkey/keeper"
)

// Config says where requests go. The first two fields are required.
type Config struct {
	// Keeper gives requests their tokens. Its Upstream's base URL is that of URL.
	Keeper *keeper.Keeper
	// URL is the upstream's base URL.
	URL string
	// Hosts are further hosts of the upstream. The Keeper's Upstream must permit them.
	Hosts []Host
	// Transport carries the requests; NewTransport makes a good one. It must not
	// decompress answers, and has to bound the wait for them. nil: NewTransport(nil).
	Transport http.RoundTripper
	// KeepBody is up to which length the body of a request is kept, so that the
	// request can be sent again when the upstream has refused the session. Longer
	// bodies are passed on as they come. 0: 1 MiB.
	KeepBody int64
	Log      *slog.Logger // nil: slog.Default()
}

const (
	defaultKeepBody = 1 << 20
	bufferSize      = 32 << 10
)

// Gateway is the handler. It is safe for concurrent use.
type Gateway struct {
	keeper   *keeper.Keeper
	proxy    *httputil.ReverseProxy
	upstream destination
	hosts    map[string]*destination // by name
	keepBody int64
	holdTime time.Duration
	flow     time.Duration // flowTimeout
	patience time.Duration // how long the upstream may take to begin a response; 0: for ever
	held     budget
	log      *slog.Logger
}

// New makes a Gateway. It sends nothing.
func New(config Config) (*Gateway, error) {
	base, err := url.Parse(config.URL)
	if err != nil || base.Host == "" || config.Keeper == nil {
		return nil, errors.New("gateway: a keeper and the upstream's URL are needed")
	}
	g := &Gateway{
		keeper:   config.Keeper,
		upstream: *newDestination(base), hosts: map[string]*destination{}, keepBody: config.KeepBody,
		holdTime: holdTime, flow: flowTimeout, held: budget{users: map[string]int64{}}, log: config.Log,
	}
	if g.keepBody == 0 {
		g.keepBody = defaultKeepBody
	}
	if g.log == nil {
		g.log = slog.Default()
	}
	if err := g.addHosts(config.Hosts); err != nil {
		return nil, err
	}
	if config.Transport == nil {
		config.Transport = NewTransport(nil)
	}
	if err := outbound.CheckProxies(config.Transport); err != nil {
		return nil, fmt.Errorf("gateway: %w", err)
	}
	transport, native := outbound.Native(config.Transport)
	if native {
		g.patience = transport.ResponseHeaderTimeout
	}
	g.proxy = &httputil.ReverseProxy{
		Rewrite:        g.rewrite,
		Transport:      config.Keeper.Transport(observed{config.Transport, native}),
		BufferPool:     NewBufferPool(),
		ModifyResponse: g.inspect,
		ErrorHandler:   g.fail,
		ErrorLog:       slog.NewLogLogger(g.log.Handler(), slog.LevelDebug),
	}
	return g, nil
}

// NewTransport is Go's transport, tuned for one upstream: enough idle connections
// to it (Go keeps two), bounded waits (a minute for an answer to begin), and bodies
// as they are. change, unless nil, has the last word. Its connections are renewed.
func NewTransport(change func(*http.Transport)) *outbound.Transport {
	t := &http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true}
	if standard, ok := http.DefaultTransport.(*http.Transport); ok {
		t = standard.Clone()
	}
	t.MaxIdleConns, t.MaxIdleConnsPerHost = 512, 512
	t.TLSHandshakeTimeout = 10 * time.Second
	t.ResponseHeaderTimeout = time.Minute
	t.DisableCompression = true
	t.MaxResponseHeaderBytes = 64 << 10
	t.ReadBufferSize, t.WriteBufferSize = 16<<10, 16<<10
	outbound.LoseDeadConnections(t)
	if change != nil {
		change(t)
	}
	return outbound.Renew(t)
}

// ServeHTTP implements http.Handler. Its caller has found both of the request's
// tokens good, and put the user into its context (authority.WithUser).
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if problem := g.refused(r); problem != nil {
		markRefused(w)
		problem.write(w)
		return
	}
	t, r := g.begin(w, r)
	defer t.end()
	if r.ContentLength != 0 {
		release, err := g.hold(t, r)
		if err != nil {
			g.fail(t, r, err)
			return
		}
		defer release()
	}
	g.proxy.ServeHTTP(t, r)
	t.stopReading()
}

// rewrite makes the request to the upstream out of the caller's. The path and the
// query are the caller's to the byte; the tokens are the keeper's, later.
func (g *Gateway) rewrite(p *httputil.ProxyRequest) {
	d, in := g.destination(p.In.URL) // which there is, or else it would have been refused
	out := p.Out.URL
	out.Scheme, out.Host, p.Out.Host = d.base.Scheme, d.base.Host, ""
	out.Path, out.RawPath = in.Path, in.RawPath
	if d.prefix != "" {
		out.Path = d.prefix + in.Path
		if in.RawPath != "" {
			out.RawPath = d.prefix + in.RawPath
		}
	}
	out.RawQuery = in.RawQuery
	stop(p.Out.Header)
	if id := p.In.Header[wire.HeaderRequestID]; id != nil {
		p.Out.Header[wire.HeaderRequestID] = id // which a caller's Connection header may have removed
	}
	if p.Out.Body == nil || transferOf(p.In.Context()).begun() {
		delete(p.Out.Header, "Expect") // the caller has been told to go on already
	}
	stopTrailers(p.In.Trailer)   // the announced names
	p.Out.Trailer = p.In.Trailer // filled when the body has been read
}

// inspect looks at an answer before it is passed on.
func (g *Gateway) inspect(resp *http.Response) error {
	if resp.StatusCode < http.StatusOK {
		return errSwitched // or a status that HTTP does not have: 042
	}
	switch {
	case resp.StatusCode == http.StatusProxyAuthRequired:
		return errProxyLogin
	case keeper.RefusesRequest(resp):
		return errRequestRefused
	case keeper.RefusesToken(resp):
		return errTokenRefused
	}
	t := transferOf(resp.Request.Context())
	t.clean(resp.Header)
	t.cleanTrailers(resp)
	return nil
}

// NewBufferPool is where a proxy gets its buffers from.
func NewBufferPool() httputil.BufferPool { return &buffers{} }

// buffers is an httputil.BufferPool.
type buffers struct{ pool sync.Pool }

func (b *buffers) Get() []byte {
	if buffer, ok := b.pool.Get().(*[bufferSize]byte); ok {
		return buffer[:]
	}
	return make([]byte, bufferSize)
}

func (b *buffers) Put(buffer []byte) {
	if len(buffer) == bufferSize {
		b.pool.Put((*[bufferSize]byte)(buffer))
	}
}
