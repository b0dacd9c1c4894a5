package keeper

import (
	"fmt"
	"net/http"

	"github.com/latchkey/latchkey/internal/outbound"
)

// connected is an Upstream that shares the http.Client of its own requests, as
// *latchkey.Client does.
type connected interface{ HTTPClient() *http.Client }

// connect sets the client that requests are sent with. It is that of the Upstream, if the
// Upstream shares one. Otherwise it has Go's defaults, with more than two idle connections
// for each host, because all requests go to one host. connect returns an error if the proxy
// settings cannot be read.
func (k *Keeper) connect() error {
	if upstream, ok := k.config.Upstream.(connected); ok {
		if k.client = upstream.HTTPClient(); k.client != nil {
			return nil
		}
	}
	if err := outbound.CheckEnvironment(); err != nil {
		return fmt.Errorf("keeper: %w", err)
	}
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment}
	if standard, ok := http.DefaultTransport.(*http.Transport); ok {
		transport = standard.Clone()
	}
	transport.MaxIdleConns, transport.MaxIdleConnsPerHost = 64, 64
	outbound.LoseDeadConnections(transport)
	k.conns = outbound.Renew(transport)
	k.client = &http.Client{Transport: k.conns}
	return nil
}
