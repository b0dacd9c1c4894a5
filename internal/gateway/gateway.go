// Package gateway forwards the requests of local users to an upstream, in the one session
// that a keeper holds there. A Gateway is an http.Handler behind the check of both local
// tokens, which it does not forward.
//
// path.go decides which requests are forwarded, headers.go, trailers.go and origin.go which
// headers. body.go buffers bodies so that a request can be repeated once. transfer.go bounds
// the time of a request, attempt.go records how far it came, and httperror.go holds the
// responses to callers if there is none of the upstream.
package gateway

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"
	"time"

	"github.com/latchkey/latchkey/internal/outbound"
	"github.com/latchkey/latchkey/internal/wire"
	"github.com/latchkey/latchkey/keeper"
)

// Config configures a Gateway. Keeper and URL are required.
type Config struct {
	// Keeper provides the tokens of requests. The base URL of its Upstream must be URL.
	Keeper *keeper.Keeper
	// URL is the upstream's base URL.
	URL string
	// Hosts are further hosts of the upstream. The Keeper's Upstream must permit them.
	Hosts []Host
	// Transport sends the requests. It must not decompress responses, and must bound the
	// wait for them. nil: NewTransport(nil).
	Transport http.RoundTripper
	// KeepBody is the length up to which the body of a request is buffered, so that the
	// request can be repeated when the upstream has refused the session. Longer bodies are
	// streamed. 0: 1 MiB.
	KeepBody int64
	Log      *slog.Logger // nil: slog.Default()
}

const defaultKeepBody = 1 << 20

// Gateway is the handler. It is safe for concurrent use.
type Gateway struct {
	keeper          *keeper.Keeper
	proxy           *httputil.ReverseProxy
	upstream        destination
	hosts           map[string]*destination // by name
	keepBody        int64
	bufferTime      time.Duration
	stallTimeout    time.Duration
	responseTimeout time.Duration // how long the upstream may take to begin a response; 0: no limit
	buffered        budget
	log             *slog.Logger
}

// New returns a Gateway. It sends nothing.
func New(config Config) (*Gateway, error) {
	base, err := url.Parse(config.URL)
	if err != nil || base.Host == "" || config.Keeper == nil {
		return nil, errors.New("gateway: a keeper and the upstream's URL are needed")
	}
	g := &Gateway{
		keeper: config.Keeper, upstream: *newDestination(base), hosts: map[string]*destination{},
		keepBody: config.KeepBody, bufferTime: bufferTime, stallTimeout: stallTimeout,
		buffered: budget{users: map[string]int64{}}, log: config.Log,
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
		g.responseTimeout = transport.ResponseHeaderTimeout
	}
	g.proxy = &httputil.ReverseProxy{
		Rewrite:        g.rewrite,
		Transport:      config.Keeper.Transport(attemptTransport{config.Transport, native}),
		BufferPool:     NewBufferPool(),
		ModifyResponse: g.inspect,
		ErrorHandler:   g.fail,
		ErrorLog:       slog.NewLogLogger(g.log.Handler(), slog.LevelDebug),
	}
	return g, nil
}

// ServeHTTP implements http.Handler. Its caller has found both of the request's tokens
// valid, and has put the user into its context (authority.WithUser).
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if problem := g.check(r); problem != nil {
		markRefused(w)
		problem.write(w)
		return
	}
	t, r := g.begin(w, r)
	defer t.end()
	if r.ContentLength != 0 {
		release, err := g.bufferBody(t, r)
		if err != nil {
			g.fail(t, r, err)
			return
		}
		defer release()
	}
	g.proxy.ServeHTTP(t, r)
	t.stopReading()
}

// rewrite makes the request to the upstream from the caller's. It keeps every byte of the
// path and the query. The keeper adds its tokens later.
func (g *Gateway) rewrite(p *httputil.ProxyRequest) {
	d, in := g.destination(p.In.URL) // check refuses a request without a destination
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
	filter(p.Out.Header)
	if id := p.In.Header[wire.HeaderRequestID]; id != nil {
		p.Out.Header[wire.HeaderRequestID] = id // a caller's Connection header may have removed it
	}
	if p.Out.Body == nil || transferOf(p.In.Context()).begun() {
		delete(p.Out.Header, "Expect") // the caller has received 100 Continue already
	}
	filterTrailers(p.In.Trailer) // the announced names
	p.Out.Trailer = p.In.Trailer // it holds the values at the end of the body
}

// inspect checks a response of the upstream, and filters its headers.
func (g *Gateway) inspect(resp *http.Response) error {
	if resp.StatusCode < http.StatusOK {
		return errSwitched // or a status that HTTP does not define, such as 042
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
