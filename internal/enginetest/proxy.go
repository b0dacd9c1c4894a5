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

// Proxy forwards connections to a server, and can delay, stall and cut them.
type Proxy struct {
	t        testing.TB
	api      *toxiproxy.ApiServer
	upstream string
	address  string

	mu    sync.Mutex
	proxy *toxiproxy.Proxy // the running one, or the last one
}

// StartProxy starts a proxy for the server at host:port. The proxy ends with the test.
func StartProxy(t testing.TB, upstreamAddr string) *Proxy {
	t.Helper()
	p := &Proxy{
		t:        t,
		api:      toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop()),
		upstream: upstreamAddr,
	}
	var err error
	for range 5 { // another process may take the port first
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

// Addr returns the address of the proxy as host:port.
func (p *Proxy) Addr() string { return p.address }

// Latency delays everything that the server sends by d.
func (p *Proxy) Latency(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = p.proxy.Toxics.RemoveToxic(context.Background(), "latency") // if there is one
	p.add("latency", "downstream", fmt.Sprintf(`{"latency": %d}`, d.Milliseconds()))
}

// Stall drops all data in both directions, while connections stay open and new ones are
// accepted, as if a host or the network had failed. Heal closes the connections that were
// stalled.
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
		p.t.Errorf("add %s to the proxy: %v", name, err)
	}
}

// Cut closes every connection and refuses new ones. Delayed data is lost.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.proxy.Stop()
}

// Redirect closes every connection and forwards new ones to another server at host:port, as if
// a name pointed to another host after a failover.
func (p *Proxy) Redirect(upstreamAddr string) {
	p.Cut()
	p.mu.Lock()
	p.upstream = upstreamAddr
	p.mu.Unlock()
	p.Heal()
}

// Heal ends the effects of Latency, Stall and Cut.
func (p *Proxy) Heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.proxy.Enabled {
		p.proxy.Toxics.ResetToxics(context.Background())
		return
	}
	// Connections of the old proxy may still be closing, so a new one is opened.
	if err := p.open(); err != nil {
		p.t.Errorf("restart the proxy: %v", err)
	}
}
