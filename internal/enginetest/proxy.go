package enginetest

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
)

// Proxy passes connections on to a server, until it is told not to.
type Proxy struct {
	t        testing.TB
	api      *toxiproxy.ApiServer
	upstream string
	address  string

	mu    sync.Mutex
	proxy *toxiproxy.Proxy // that runs, or the last that did
}

// StartProxy starts a proxy in front of a server at host:port, which ends with the test.
func StartProxy(t testing.TB, upstreamAddr string) *Proxy {
	t.Helper()
	p := &Proxy{
		t:        t,
		api:      toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop()),
		upstream: upstreamAddr,
	}
	var err error
	for range 5 { // the port may be taken by somebody else meanwhile
		var port int
		if port, err = freePort(0); err != nil {
			break
		}
		p.address = address(port)
		if err = p.open(); err == nil {
			t.Cleanup(p.Cut)
			return p
		}
	}
	t.Fatal(err)
	return nil
}

// open starts a proxy without any toxics.
func (p *Proxy) open() error {
	p.proxy = toxiproxy.NewProxy(p.api, "proxy", p.address, p.upstream)
	return p.proxy.Start()
}

// Addr is where the proxy listens, as host:port.
func (p *Proxy) Addr() string { return p.address }

// Latency has every answer come so much later than the server gives it.
func (p *Proxy) Latency(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = p.proxy.Toxics.RemoveToxic(context.Background(), "latency") // if there is one
	p.add("latency", "downstream", fmt.Sprintf(`{"latency": %d}`, d.Milliseconds()))
}

// Stall has nothing pass any more, in either direction, while connections stay open and
// new ones are accepted, as when a host or the network in between is gone. What is sent
// now is lost. Heal ends the connections that it was done to.
func (p *Proxy) Stall() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, direction := range []string{"upstream", "downstream"} {
		p.add("timeout", direction, `{"timeout": 0}`)
	}
}

func (p *Proxy) add(kind, direction, attributes string) {
	name := kind
	if kind != "latency" {
		name += direction
	}
	_, err := p.proxy.Toxics.AddToxicJson(strings.NewReader(fmt.Sprintf(
		`{"name": %q, "type": %q, "stream": %q, "attributes": %s}`, name, kind, direction, attributes)))
	if err != nil {
		p.t.Errorf("the proxy's %s: %v", name, err)
	}
}

// Cut ends every connection and refuses new ones. Answers that were delayed are lost.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.proxy.Stop()
}

// Redirect ends every connection and passes new ones on to another server at host:port,
// as when a name leads to another host after a failover.
func (p *Proxy) Redirect(upstreamAddr string) {
	p.Cut()
	p.mu.Lock()
	p.upstream = upstreamAddr
	p.mu.Unlock()
	p.Heal()
}

// Heal ends what Latency, Stall and Cut began.
func (p *Proxy) Heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.proxy.Enabled {
		p.proxy.Toxics.ResetToxics(context.Background())
		return
	}
	// A new one, since connections of the old one may not have wound down yet.
	if err := p.open(); err != nil {
		p.t.Errorf("the proxy does not listen again: %v", err)
	}
}
