package gateway

import (
	"net/http"
	"time"

	"github.com/latchkey/latchkey/internal/outbound"
)

// NewTransport returns a copy of Go's default transport, tuned for one upstream: it keeps
// more than Go's two idle connections, waits at most a minute for a response to begin,
// does not decompress bodies, and renews its connections. change, unless nil, may modify
// it.
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
